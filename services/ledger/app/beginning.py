"""How a ledger that starts comes by its state without folding the whole log.

It takes its newest snapshot up to where the tables are, as schedulers do, and folds what came
since. What the state doesn't have, the statuses so far, is in the tables: the fold that wrote them
is the one that made the snapshot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from fogbank.domain.fleet import StateDiffersError
from fogbank.domain.snapshots import Snapshot, SnapshotRefusedError, require_confirmed
from fogbank.log.follower import decode
from fogbank.log.port import EventLog
from fogbank.log.snapshots import ignored, state_to_begin_with
from fogbank.placement import ENGINE
from services.ledger.app.snapshots import Snapshots
from services.ledger.core.projection import Projection


@dataclass(frozen=True, slots=True)
class _Upto:
    """A `SnapshotSource` of what was kept up to a position."""

    snapshots: Snapshots
    position: int

    async def newest(self) -> Snapshot | None:
        parts = [part async for part in self.snapshots.newest(self.position)]
        if not parts:
            return None
        return replace(parts[0], pieces=tuple(piece for part in parts for piece in part.pieces))


@dataclass(frozen=True, slots=True)
class Begun:
    """A projection as of where the tables are, the digest of the commit there, the log's times."""

    projection: Projection
    digest: bytes
    log_times_us: Sequence[int]


async def begun_projection(
    snapshots: Snapshots, log: EventLog, take_turns: Callable[[], Awaitable[None]]
) -> Begun | None:
    """Return what to begin with.

    None, with a warning that says why, if there is no snapshot or it doesn't verify.

    Raises:
        CodecError: a commit after the snapshot can't be understood.
        StoreUnavailableError, LogUnavailableError: no answer; try again.
    """
    standing = await snapshots.standing()
    found = await state_to_begin_with(_Upto(snapshots, standing.position), log, ENGINE)
    if found is None:
        return None
    fleet, held = found
    begun_at, digest = held.sequence, held.digest
    fleet.keep_pieces = True
    try:
        async for batch in log.read(begun_at + 1, standing.position):
            for stored in batch:
                fleet.fold(decode(stored))
                snapshots.offer(fleet)
                digest = stored.digest
                await take_turns()
        if fleet.position != standing.position:
            text = f"the log ends at {fleet.position} and the tables at {standing.position}"
            raise SnapshotRefusedError(text)
        require_confirmed(fleet)
        projection = Projection.standing(fleet, standing.statuses)
    except (StateDiffersError, SnapshotRefusedError) as error:
        ignored(begun_at, error)
        return None
    return Begun(projection, digest, standing.log_times_us)
