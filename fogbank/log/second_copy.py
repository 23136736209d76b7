"""The log's second copy, which the ledger keeps, and the wait for both to agree.

Whoever appends asks at its start for the highest commit that the copy holds. A log that does not
hold it lost or changed what was acknowledged; nobody writes to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import grpc
import grpc.aio
import structlog

from fogbank.domain.errors import FogError, UnavailableError
from fogbank.log.guard import Known, require_held
from fogbank.log.port import EventLog, LogRewoundError
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import ledger_query_service_pb2 as pb
from fogbank.v1 import ledger_query_service_pb2_grpc as rpc

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0
# A log that is refused stays so until somebody mends it.
_REFUSAL_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class HighestCopy:
    """The last commit that the copy holds, 0 for none, and the SHA-256 of the bytes kept."""

    sequence: int
    digest: bytes


class SecondCopy(Protocol):
    """Whoever keeps a second copy of the log."""

    async def highest(self) -> HighestCopy:
        """Return the last commit that the copy holds.

        Raises:
            FogError: no answer, or the copy itself is not sound.
        """


class LedgerCopy:
    """A `SecondCopy` that asks the ledger over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._stub = rpc.LedgerQueryServiceStub(channel)
        self._timeout_s = timeout_s

    async def highest(self) -> HighestCopy:
        try:
            answer = await self._stub.GetLedgerStatus(
                pb.GetLedgerStatusRequest(), timeout=self._timeout_s
            )
        except grpc.aio.AioRpcError as error:
            known = from_rpc_error(error)
            if known.reason != error.code().name:  # it is the ledger itself that says so
                raise known from error
            raise UnavailableError(
                f"the ledger, which keeps the second copy, does not answer ({error.code().name})"
            ) from error
        return HighestCopy(answer.as_of_sequence, answer.as_of_digest)


async def agreement(
    log: EventLog, copy: SecondCopy, *, waits: Callable[[str], None] = lambda _: None
) -> None:
    """Return when the log holds what its copy holds, and hold the log to it from then on.

    Waits for a ledger and for a broker that do not answer, and for an operator when the two
    disagree; says once in the process's log why, and each time why to `waits`.
    """
    told = ""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            await log.require_open()
            highest = await copy.highest()
            if highest.sequence:
                held = Known(highest.sequence, highest.digest, "the ledger's copy")
                await require_held(log, held)
                log.must_hold(highest.sequence, highest.digest)
        except LogRewoundError as error:
            why = str(error)
            if why != told:
                _log.critical("the log is refused", error=why)
            pause_s = _REFUSAL_PAUSE_S
        except FogError as error:
            why = error.message
            if why != told:
                _log.warning("nothing is appended yet", error=why)
        else:
            if told:
                _log.info("log and second copy agree", sequence=highest.sequence)
            return
        waits(told := why)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
