"""Mistakes in rollouts, in preemption, with snapshots and digests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

from fogbank.checker import revisions as checked_revisions
from fogbank.domain import events as ev
from fogbank.domain import revisions
from fogbank.domain import snapshots as snapshots_module
from fogbank.domain.decisions import Desired
from fogbank.domain.fleet import FleetState
from fogbank.domain.node_use import NodeUse
from fogbank.domain.policy import Policy
from fogbank.placement import needs, placements, preemption, rollouts
from services.gateway.app import updates
from services.scheduler.app import Scheduler
from tests.simulation.planting import Patches, bug

# --- rollouts ---------------------------------------------------------------------------------


@bug
def successors_not_waited_for() -> Patches:
    return [patch.object(rollouts, "well_at_us", lambda *_: 0)]


@bug
def outdated_left_alone() -> Patches:
    return [patch.object(rollouts, "_choose", lambda *_: None)]


@bug
def old_revision_placed() -> Patches:
    return [patch("fogbank.placement.looks.wanted_revision", lambda *_: 1)]


@bug
def successors_side_by_side() -> Patches:
    return [patch.object(rollouts, "_note_successor", lambda *_: None)]


@bug
def rolled_back_again_and_again() -> Patches:
    """The revision that failed counts as the one to go back to."""

    def always(_fleet: Any, deployment: Any) -> dict[int, int]:
        return {deployment.revision: 0}

    return [patch("fogbank.domain.rollouts.good_from_us", always)]


@bug
def needed_revisions_forgotten() -> Patches:
    """Where only two are kept for being new, so that it shows soon."""
    return [
        patch.object(revisions, "KEPT_REVISIONS", 2),
        patch.object(checked_revisions, "_NEWEST", 2),
        patch.object(updates, "needed_revisions", lambda *_: ()),
    ]


# --- preemption -------------------------------------------------------------------------------


@bug
def victims_forgotten() -> Patches:
    need_of = needs.need_of

    def forgetful(fleet: Any, deployment: Any) -> Any:
        need = need_of(fleet, deployment)
        decision = fleet.decisions.deployments.get(deployment.id)
        evicted = decision.preempted if decision is not None else {}
        return need._replace(vacant=tuple(each for each in need.vacant if each[0] not in evicted))

    return [
        patch("fogbank.placement.needs.need_of", forgetful),
        patch("fogbank.placement.agenda.need_of", forgetful),
    ]


@bug
def started_beside_victims() -> Patches:
    """Who takes the room of others that the round evicts does not wait for their end."""
    starts_after = placements._starts_after

    def hasty(fleet: Any, room: Any, row: int, devices: Any) -> Any:
        leaving = set(room.leaving.get(row, ()))
        return tuple(
            each for each in starts_after(fleet, room, row, devices) if each not in leaving
        )

    return [patch.object(placements, "_starts_after", hasty)]


@bug
def equals_evicted() -> Patches:
    return [patch.object(Policy, "preemption_gap", 0)]


@bug
def evicted_in_vain() -> Patches:
    return [patch.object(preemption._Ask, "leftover", lambda _: False)]


@bug
def suspended_room_given_away() -> Patches:
    put = NodeUse.put

    def hasty(self: NodeUse, placed: Any) -> None:
        if placed.desired is Desired.SUSPENDED:
            put(self, replace(placed, desired=Desired.RELEASED))
        else:
            put(self, placed)

    return [patch.object(NodeUse, "put", hasty)]


# --- snapshots and digests --------------------------------------------------------------------


@bug
def snapshot_of_another_position() -> Patches:
    """Who begins with one takes it for the state one commit later, and never reads that."""
    follow_from = Scheduler._follow_from

    async def ahead(self: Scheduler, after: int) -> None:
        await follow_from(self, after + 1 if after else 0)

    return [patch.object(Scheduler, "_follow_from", ahead)]


@bug
def snapshot_pieces_unverified() -> Patches:
    def trusted(snapshot: Any) -> Any:
        return lambda _pieces: snapshot.digest

    restored = snapshots_module.restored

    def trusting(snapshot: Any, engine: int) -> Any:
        with patch.object(snapshots_module, "digest_of", trusted(snapshot)):
            return restored(snapshot, engine)

    return [patch("fogbank.log.snapshots.restored", trusting)]


@bug
def digests_not_compared() -> Patches:
    """Seen where one process's state is changed behind its back: nobody notices."""
    fold = FleetState.fold

    def blind(self: FleetState, commit: Any) -> Any:
        event = commit.envelopes[0].event
        if isinstance(event, ev.RoundDecided) and event.state_digest and self.due_digest:
            self.due_digest = event.state_digest
        return fold(self, commit)

    return [patch.object(FleetState, "fold", blind)]
