"""Snapshots as the ledger sends them, and what of them may be used to begin with."""

from __future__ import annotations

from typing import Protocol

import grpc
import grpc.aio
import structlog

from fogbank.domain.errors import UnavailableError
from fogbank.domain.fleet import FleetState
from fogbank.domain.snapshots import Snapshot, SnapshotRefusedError, restored
from fogbank.log.port import EventLog, StoredCommit
from fogbank.v1 import ledger_query_service_pb2 as pb
from fogbank.v1 import ledger_query_service_pb2_grpc as rpc

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 60.0


class SnapshotSource(Protocol):
    """Who keeps snapshots of the folded state."""

    async def newest(self) -> Snapshot | None:
        """Return the newest snapshot, not verified; None without one, or without an answer."""


class LedgerSnapshots:
    """A `SnapshotSource` that asks the ledger over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._stub = rpc.LedgerQueryServiceStub(channel)
        self._timeout_s = timeout_s

    async def newest(self) -> Snapshot | None:
        pieces: list[bytes] = []
        part: pb.ReadSnapshotResponse | None = None
        try:
            async for part in self._stub.ReadSnapshot(
                pb.ReadSnapshotRequest(), timeout=self._timeout_s
            ):
                pieces += part.pieces
        except grpc.aio.AioRpcError as error:
            _log.warning(
                "No snapshot from the ledger, the log is folded instead", error=error.details()
            )
            return None
        if part is None:
            return None
        return Snapshot(part.sequence, part.engine, part.structure, part.digest, tuple(pieces))


async def state_to_begin_with(
    source: SnapshotSource, log: EventLog, engine: int
) -> tuple[FleetState, StoredCommit] | None:
    """Return the newest snapshot's state and the round it ends with, if the log has that round.

    None, with a warning that says why, if there is no snapshot or it doesn't verify.
    """
    snapshot = await source.newest()
    if snapshot is None:
        return None
    try:
        fleet = restored(snapshot, engine)
        held = await log.get(snapshot.position)
        if held is None or held.digest != fleet.decisions.prev_digest:
            raise SnapshotRefusedError("the log holds another commit there")
    except (SnapshotRefusedError, UnavailableError) as error:
        ignored(snapshot.position, error)
        return None
    _log.info("Begins with a snapshot", sequence=snapshot.position)
    return fleet, held


def ignored(sequence: int, why: Exception) -> None:
    """Say that a snapshot isn't used, and why."""
    _log.warning(
        "A snapshot is ignored, the log is folded instead", sequence=sequence, error=str(why)
    )
