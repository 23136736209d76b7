"""The commits that touch one thing: by the ledger's index, else by reading the whole log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fogbank.domain.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    UnavailableError,
)
from fogbank.log.port import EventLog
from services.gateway.app.ports import LedgerRecords, Recorded
from services.gateway.core.touching import Kind, Touching


class Records:
    """Reads records. The log is read where the ledger can't help, and where it is followed."""

    def __init__(self, log: EventLog, ledger: LedgerRecords) -> None:
        self._log = log
        self._ledger = ledger

    async def of(
        self, thing: Touching, ledger_id: str, after: int, upto: int | None
    ) -> AsyncGenerator[Recorded]:
        """Yield a thing's commits after a sequence up to another, or for ever (None), in order.

        `ledger_id` is the thing under which the ledger has it: a replica's is its deployment.

        Raises:
            InvalidArgumentError: a cluster or an organization can't be followed.
            UnavailableError: the log does not answer; for these two the ledger doesn't.
        """
        if upto is None and thing.kind.numbered:
            raise InvalidArgumentError.of_field(
                "follow", f"must not be set for a {thing.kind}: its record is read up to now"
            )
        kind = Kind.DEPLOYMENT if thing.kind is Kind.REPLICA else thing.kind
        position = after
        if upto is not None:
            found = self._ledger.record(kind, ledger_id, after, upto)
            try:
                async with aclosing(found):
                    async for recorded in found:
                        yield recorded
                        position = recorded.sequence
                yield Recorded(upto)
                return
            except (UnavailableError, DeadlineExceededError):
                if thing.kind.numbered:
                    raise
        async for recorded in self._read(thing, position, upto):
            yield recorded

    async def _read(
        self, thing: Touching, after: int, upto: int | None
    ) -> AsyncGenerator[Recorded]:
        batches = self._log.follow(after) if upto is None else self._log.read(after + 1, upto)
        async for batch in batches:
            for stored in batch:
                if thing.may_touch(stored.data):
                    yield Recorded(stored.sequence, stored)
            yield Recorded(batch[-1].sequence)
