"""The ledger's snapshots: where they are kept, the way to who asks, what must hold of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from random import Random

from fogbank.codec import decode_commit
from fogbank.domain.errors import UnavailableError
from fogbank.domain.fleet import FleetState, StateDiffersError
from fogbank.domain.snapshots import Snapshot, SnapshotRefusedError, restored
from fogbank.domain.state_encoding import digest_of, encode_state
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusChange
from fogbank.domain.views import RECENT_CHANGES, AsOf, StatusRecord
from fogbank.log.port import StoredCommit
from fogbank.placement import ENGINE
from services.ledger.app.ports import StoreUnavailableError
from services.ledger.app.snapshots import Standing
from services.ledger.core.log_times import STRIDE
from services.ledger.core.projection import Status
from services.ledger.core.rows import ChangeRow
from tests.simulation.loop import Process, pause
from tests.simulation.machines import Database
from tests.simulation.world import Link, World, require_alive

_KEPT = 3
# How often an answer holds something else than was kept, while things go wrong.
_DAMAGED = 0.4


@dataclass(slots=True)
class Kept:
    """The last few snapshots, the newest last."""

    snapshots: list[Snapshot] = field(default_factory=list)

    def put(self, snapshot: Snapshot) -> None:
        """Keep one in the place of any of the same position."""
        others = [each for each in self.snapshots if each.position != snapshot.position]
        others.append(snapshot)
        self.snapshots = sorted(others, key=lambda each: each.position)[-_KEPT:]


class SimSnapshots:
    """A `SnapshotStore` of one ledger process."""

    def __init__(
        self, kept: Kept, database: Database, process: Process, link: Link, world: World
    ) -> None:
        self._kept = kept
        self._database = database
        self._process = process
        self._link = link
        self._world = world

    async def write(self, snapshot: Snapshot) -> None:
        await self._go()
        self._kept.put(snapshot)
        self._world.tell(self._process.name, f"keeps a snapshot of {snapshot.position}")

    async def newest(self, upto: int | None = None) -> AsyncGenerator[Snapshot]:
        await self._go()
        old = [each for each in self._kept.snapshots if upto is None or each.position <= upto]
        for snapshot in old[-1:]:
            yield snapshot

    async def standing(self) -> Standing:
        await self._go()
        rows = self._database.tables["deployments"].values()
        appended_us = [row.appended_at_us for row in self._database.commits]
        return Standing(
            len(appended_us),
            {row.id: Status(DeploymentStatus(row.exact_status), row.updated_at_us) for row in rows},
            list(accumulate(appended_us, max))[STRIDE - 1 :: STRIDE],
        )

    async def _go(self) -> None:
        await pause(self._link.delay_s())
        require_alive(self._process)
        if not self._link.whole or self._link.happens(self._world.noise.store_fails):
            await pause(1.0)
            raise StoreUnavailableError("no answer")


class SimSource:
    """A `SnapshotSource`: the way to a ledger, on which bytes are damaged now and then."""

    def __init__(self, kept: Kept, process: Process, link: Link, world: World) -> None:
        self._kept = kept
        self._process = process
        self._link = link
        self._world = world
        self._random = world.chance(f"snapshots/{process.name}")

    async def newest(self) -> Snapshot | None:
        await pause(self._link.delay_s())
        require_alive(self._process)
        if not self._link.whole or not self._kept.snapshots:
            return None
        snapshot = self._kept.snapshots[-1]
        if self._world.faulty and self._random.random() < _DAMAGED:
            self._world.fault("snapshot damaged", self._process.name)
            return damaged(snapshot, self._random)
        return snapshot


class SimStatuses:
    """A gateway's `LedgerStatuses`: the way to a ledger, which asks its tables."""

    def __init__(self, database: Database, process: Process, link: Link) -> None:
        self._database = database
        self._process = process
        self._link = link

    async def statuses(self) -> AsyncGenerator[AsOf[tuple[StatusRecord, ...]]]:
        await self._go()
        recent: dict[str, list[StatusChange]] = {}
        for row in reversed(self._database.changes):
            changes = recent.setdefault(row.deployment_id, [])
            if len(changes) < RECENT_CHANGES:
                changes.append(change_of(row))
        records = tuple(
            StatusRecord(
                row.id,
                DeploymentStatus(row.exact_status),
                row.updated_at_us,
                tuple(recent.get(row.id, ())),
            )
            for row in self._database.tables["deployments"].values()
        )
        yield AsOf(records, self._database.checkpoint.position)

    async def changes(
        self, after: int, upto: int
    ) -> AsyncGenerator[tuple[list[StatusChange], int]]:
        await self._go()
        rows = [row for row in self._database.changes if after < row.sequence <= upto]
        yield [change_of(row) for row in rows], upto

    async def _go(self) -> None:
        await pause(self._link.delay_s())
        require_alive(self._process)
        if not self._link.whole:
            raise UnavailableError("the ledger does not answer")


def change_of(row: ChangeRow) -> StatusChange:
    """Return the change that a row of the history tells of."""
    old = row.exact_old_status
    return StatusChange(
        row.deployment_id,
        DeploymentStatus(old) if old else None,
        DeploymentStatus(row.exact_new_status),
        row.changed_at_us,
        row.reason,
        row.sequence,
    )


def damaged(snapshot: Snapshot, random: Random) -> Snapshot:
    """Return a snapshot of which a bit is another one, or a piece is missing."""
    pieces = list(snapshot.pieces)
    number = random.randrange(len(pieces))
    if random.random() < 0.5:
        del pieces[number]
    else:
        piece = bytearray(pieces[number])
        piece[random.randrange(len(piece))] ^= 1 << random.randrange(8)
        pieces[number] = bytes(piece)
    return replace(snapshot, pieces=tuple(pieces))


def differing_snapshots(kept: Kept, commits: Sequence[StoredCommit]) -> list[str]:
    """Find snapshots that are not what folding the log leads to, then and in the end."""
    begun = {}
    found = []
    for snapshot in kept.snapshots:
        try:
            begun[snapshot.position] = restored(snapshot, ENGINE)
        except SnapshotRefusedError as error:
            found.append(f"the snapshot of {snapshot.position} is refused: {error}")
    whole = FleetState()
    for stored in commits:
        writer = stored.writer
        commit = decode_commit(stored.sequence, writer.service, writer.instance, stored.data)
        for position, fleet in tuple(begun.items()):
            try:
                if position < commit.sequence:
                    fleet.fold(commit)
            except StateDiffersError as error:
                found.append(f"after the snapshot of {position}: {error}")
                del begun[position]
        whole.fold(commit)
        fleet_then = begun.get(commit.sequence)
        if fleet_then is not None and _digest(fleet_then) != _digest(whole):
            found.append(f"the snapshot of {commit.sequence} is not the state then")
    for position, fleet in begun.items():
        if _essence(fleet) != _essence(whole):
            found.append(f"from the snapshot of {position} on the log folds to another state")
    return found


def _essence(fleet: FleetState) -> list[object]:
    """Return a state without what only says when to look at something again."""
    sums = [(node_id, fleet.held(node_id), fleet.booked(node_id)) for node_id in fleet.facts.nodes]
    return [fleet.position, fleet.facts, fleet.decisions, sums]


def _digest(fleet: FleetState) -> bytes:
    return digest_of(encode_state(fleet.parts))
