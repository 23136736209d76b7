"""How a gateway that starts comes by its state without folding the whole log.

It takes the newest snapshot, as schedulers do, and the ledger's statuses, which are not in the
state: they are as of a later commit, up to which the log is folded without telling changes apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from fogbank.domain.envelope import SCHEDULER
from fogbank.domain.errors import FogError
from fogbank.domain.fleet import FleetState, StateDiffersError
from fogbank.domain.snapshots import SnapshotRefusedError
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import derive_status
from fogbank.domain.views import StatusRecord
from fogbank.log.follower import read_commits
from fogbank.log.port import EventLog
from fogbank.log.snapshots import SnapshotSource, ignored, state_to_begin_with
from fogbank.placement import ENGINE
from services.gateway.app.ports import LedgerStatuses

# Checking so many deployments takes some milliseconds; then others get their turn.
_CHECKED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Begun:
    """A state, the statuses as of it, and the scheduler that wrote its last round."""

    fleet: FleetState
    records: Sequence[StatusRecord]
    leader: str


async def begun_fold(
    snapshots: SnapshotSource, statuses: LedgerStatuses, log: EventLog
) -> Begun | None:
    """Return what to begin with.

    None, with a warning that says why, if there is no snapshot or anything about it isn't right.

    Raises:
        CodecError: a commit after the snapshot can't be understood.
    """
    found = await state_to_begin_with(snapshots, log, ENGINE)
    if found is None:
        return None
    fleet, last_round = found
    begun_at, leader = fleet.position, last_round.writer.instance
    try:
        records, as_of = await _records(statuses)
        async for commits in read_commits(log, begun_at + 1, as_of):
            for commit in commits:
                folded = fleet.fold(commit)
                if commit.service == SCHEDULER and folded.verdicts[0].accepted:
                    leader = commit.instance
        if fleet.position != as_of:
            raise SnapshotRefusedError(f"the ledger's tables are at {as_of}")
        records = await _checked(fleet, records)
    except (StateDiffersError, SnapshotRefusedError, FogError) as error:
        ignored(begun_at, error)
        return None
    return Begun(fleet, records, leader)


async def _records(statuses: LedgerStatuses) -> tuple[list[StatusRecord], int]:
    records: list[StatusRecord] = []
    as_of = 0
    async for part in statuses.statuses():
        records += part.value
        as_of = part.as_of_sequence
    return records, as_of


async def _checked(fleet: FleetState, records: Sequence[StatusRecord]) -> list[StatusRecord]:
    """Return the statuses of a state's deployments, without those that the state forgot.

    Refuses statuses that can't be those of a state: deriving them again must change none.
    """
    deployments = fleet.facts.deployments
    known = [record for record in records if record.deployment_id in deployments]
    others = {record.status for record in records if record.deployment_id not in deployments}
    if len(known) != len(deployments) or others - {DeploymentStatus.DELETED}:
        raise SnapshotRefusedError("the ledger's tables have other deployments than the log")
    for number, record in enumerate(known):
        if number % _CHECKED_AT_ONCE == 0:
            await asyncio.sleep(0)
        status, _ = derive_status(fleet, deployments[record.deployment_id], record.status)
        if status is not record.status:
            raise SnapshotRefusedError(
                f"the ledger has deployment {record.deployment_id} as {record.status.name}, "
                f"the log as {status.name}"
            )
    return known
