"""Rolling updates: replicas of an older revision give way to new ones, step by step.

A new replica takes the slot of an old one, which runs on (leaving) until the new one is well. Where
there is no room for one more, and fewer than wanted may be well, the old one goes first. At no time
are there more than wanted and the surge, nor does a step leave fewer that are well than allowed.
Where a move to another node left more than that, no other slot gives way before it is over; and
where the successor is gone, the old one goes before there is another. New ones that fail lead back
to the revision before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from fogbank.domain import events as ev
from fogbank.domain.decisions import DeploymentDecision, PlacedReplica
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.rollouts import (
    as_wanted,
    is_available,
    is_outdated,
    slots_held_back,
    wanted_revision,
    way_back,
    well_at_us,
)
from fogbank.placement.agenda import Agenda, rollout_look
from fogbank.placement.looks import look
from fogbank.placement.movements import losses, lost_at_us
from fogbank.placement.needs import vacant_from_us
from fogbank.placement.quotas import refused_by_quota
from fogbank.placement.room import Room
from fogbank.placement.work import Work, cost


@dataclass(slots=True)
class Steps:
    """What a rollout can do: at once, with room, and (`next_us`) when time has passed."""

    rolled_back: ev.DeploymentRolledBack | None = None
    released: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    candidates: list[PlacedReplica] = field(default_factory=list)
    surge: int = 0
    spare: int = 0
    next_us: int | None = None

    @property
    def at_once(self) -> bool:
        """Tell whether there is something to write down whatever room there is."""
        return bool(self.rolled_back or self.released or self.restored)

    def later(self, at_us: int) -> None:
        """Note that time brings something to do."""
        self.next_us = at_us if self.next_us is None else min(self.next_us, at_us)


def roll_all(fleet: FleetState, work: Work) -> Iterator[list[ev.Outcome]]:
    """Take the next step of each rollout."""
    for deployment_id in sorted(work.agenda.rolling):
        if deployment_id in work.moved:
            continue
        deployment = fleet.facts.deployments[deployment_id]
        step = partial(_roll, fleet, work, deployment)
        outcomes = work.attempt_move(rollout_look(deployment_id), step)
        if outcomes:
            yield outcomes


def rollout_due_us(fleet: FleetState, agenda: Agenda) -> int | None:
    """Return from when a rollout has something to do; 0 for now."""
    due: int | None = None
    for deployment_id in agenda.rolling:
        deployment = fleet.facts.deployments[deployment_id]
        looked_us = agenda.in_vain_us(rollout_look(deployment_id), fleet.room_sequence)
        # Steps whose time had come at a look in vain wait for something else than time.
        steps = steps_of(fleet, deployment, max(fleet.decisions.instant_us, looked_us or 0))
        if steps.at_once or (steps.candidates and looked_us is None):
            return 0
        if steps.next_us is not None:
            due = steps.next_us if due is None else min(due, steps.next_us)
    return due


def _roll(fleet: FleetState, work: Work, deployment: DeploymentFact) -> list[ev.Outcome]:
    steps = steps_of(fleet, deployment, work.instant_us)
    if steps.rolled_back is not None:
        return [steps.rolled_back]
    outcomes: list[ev.Outcome] = []
    wanted = wanted_revision(fleet, deployment)
    if steps.released:
        reason = f"Replaced by revision {wanted}"
        outcomes.append(ev.ReplicasReleased(deployment.id, tuple(steps.released), reason))
    if steps.restored:
        outcomes.append(ev.ReplicasRestored(deployment.id, tuple(steps.restored)))
    if outcomes:
        return outcomes  # placing goes on from what these lead to
    return _replace(fleet, work, deployment, steps)


def _replace(
    fleet: FleetState, work: Work, deployment: DeploymentFact, steps: Steps
) -> list[ev.Outcome]:
    """Place successors, as many as may be; where there is no room, let old ones go first."""
    outcomes: list[ev.Outcome] = []
    meant = as_wanted(fleet, deployment)
    surge, spare = steps.surge, steps.spare
    let_go = False
    reason = f"Gives way to revision {wanted_revision(fleet, deployment)}"
    for old in steps.candidates:
        if sum(map(cost, outcomes)) >= work.budget:
            break  # the next round goes on
        runs = is_available(fleet, old)
        if runs and surge <= 0 and spare <= 0:
            continue
        gone = ev.ReplicasReleased(deployment.id, (old.id,), reason)
        if not runs:
            # It serves nobody: nothing is lost with it, and its slot is filled as any other.
            outcomes.append(gone)
            let_go = True
            continue
        if let_go:
            continue  # there is room from the next round on, for which nobody need be evicted
        found = look(fleet, work, meant, (old.slot,)) if surge > 0 else None
        if isinstance(found, ev.DeploymentPlaced):
            (placement,) = found.placements
            placements = (placement._replace(replaces=old.id),)
            outcomes.append(found._replace(placements=placements))
            _note_successor(work.room, deployment.id, placement.node_id)
            surge -= 1
        elif spare > 0 and not _awaits_quota(fleet, work, meant, old):
            outcomes.append(gone)
            spare -= 1
            let_go = surge > 0
    if not outcomes:
        work.looked_in_vain.add(rollout_look(deployment.id))
    return outcomes


def _awaits_quota(fleet: FleetState, work: Work, meant: DeploymentFact, old: PlacedReplica) -> bool:
    """Tell whether a move to another cluster waits for its quota: no end of an old one helps."""
    if fleet.cluster_of(old) == meant.spec.cluster_id:
        return False
    return refused_by_quota(fleet, work.room, meant.spec, 1) is not None


def _note_successor(room: Room, deployment_id: str, node_id: str) -> None:
    row = room.arrays.row(node_id)
    if row is not None:
        room.successors.setdefault(deployment_id, []).append(row)


def steps_of(fleet: FleetState, deployment: DeploymentFact, instant_us: int) -> Steps:
    """Return what a rollout can do next, as far as the log tells."""
    decision = fleet.decisions.of(deployment.id)
    steps = Steps()
    if decision.failed_version == deployment.version:
        return steps
    _judge(fleet, deployment, steps, instant_us)
    if steps.rolled_back is not None:
        return steps
    _finish(fleet, deployment, decision, steps, instant_us)
    _choose(fleet, deployment, decision, steps, instant_us)
    return steps


def _finish(
    fleet: FleetState,
    deployment: DeploymentFact,
    decision: DeploymentDecision,
    steps: Steps,
    instant_us: int,
) -> None:
    """Let go of those whose successors are well, and take back those that were right."""
    placements = fleet.decisions.placements
    for slot in sorted(decision.leaving):
        old = placements[decision.leaving[slot]]
        live_id = decision.slots.get(slot)
        live = placements[live_id] if live_id is not None else None
        if fleet.ended(old):
            steps.released.append(old.id)
            continue
        if live is not None and live.revision == old.revision:
            continue  # it moves to another node, whatever it is of
        wrong = live is None or is_outdated(fleet, deployment, live)
        stays = old.node_id not in fleet.facts.draining
        if wrong and stays and not is_outdated(fleet, deployment, old):
            _take_back(fleet, deployment, old, live, steps, instant_us=instant_us)
            continue
        if live is None:
            continue
        well_us = well_at_us(fleet, live, deployment.spec.rollout.min_healthy_ms)
        if well_us is None:
            continue
        if well_us <= instant_us:
            steps.released.append(old.id)
        else:
            steps.later(well_us)


def _take_back(
    fleet: FleetState,
    deployment: DeploymentFact,
    old: PlacedReplica,
    live: PlacedReplica | None,
    steps: Steps,
    *,
    instant_us: int,
) -> None:
    """Restore who was leaving and is right after all, unless its node is silent.

    Once that node is lost it is let go where another one serves: that one is replaced then.
    """
    node = fleet.facts.nodes.get(old.node_id)
    if node is None or fleet.offline_since_us(node) is None:
        steps.restored.append(old.id)
        return
    loss = next((each for each in losses(fleet) if each.node is node), None)
    lost_us = lost_at_us(fleet, loss, deployment) if loss is not None else None
    if live is None or lost_us is None or not is_available(fleet, live):
        return
    if lost_us <= instant_us:
        steps.released.append(old.id)
    else:
        steps.later(lost_us)


def _choose(
    fleet: FleetState,
    deployment: DeploymentFact,
    decision: DeploymentDecision,
    steps: Steps,
    instant_us: int,
) -> None:
    """Choose those to replace next: first those that serve nobody, then by slot."""
    placements, rollout = fleet.decisions.placements, deployment.spec.rollout
    wanted = deployment.spec.replicas
    available = 0
    well_at: list[int] = []
    to_fill = False
    old: list[PlacedReplica] = []
    held_back = slots_held_back(fleet, deployment)
    for slot in range(wanted):
        live_id = decision.slots.get(slot)
        leaving_id = decision.leaving.get(slot)
        live = placements[live_id] if live_id is not None else None
        leaves = leaving_id is not None and is_available(fleet, placements[leaving_id])
        serves_us = None if live is None else _serves_at_us(fleet, deployment, live)
        if leaves or (serves_us is not None and serves_us <= instant_us):
            available += 1
        elif serves_us is not None:
            well_at.append(serves_us)
        if slot in held_back and leaving_id is not None:
            due_us = _goes_from_us(fleet, deployment, placements[leaving_id], live)
            if due_us <= instant_us:
                old.append(placements[leaving_id])
            else:
                steps.later(due_us)
            continue
        to_fill = to_fill or (live is None and not decision.deferred)
        if live is None or not is_outdated(fleet, deployment, live):
            continue
        if leaving_id is None or not is_available(fleet, live):
            old.append(live)
    # What was let go gets its successor before others do, unless there is no room for it.
    steps.surge = 0 if to_fill else max(rollout.max_surge - len(decision.leaving), 0)
    steps.spare = max(available - (wanted - rollout.max_unavailable), 0)
    # So many more have to be well until another may go first.
    lacking = wanted - rollout.max_unavailable - available + 1
    if old and 0 < lacking <= len(well_at):
        steps.later(sorted(well_at)[lacking - 1])
    too_many = len(decision.leaving) > rollout.max_surge
    for placed in sorted(old, key=lambda each: (is_available(fleet, each), each.slot)):
        goes = steps.spare > 0 and (placed.slot in held_back or not too_many)
        if not is_available(fleet, placed) or steps.surge > 0 or goes:
            steps.candidates.append(placed)


def _goes_from_us(
    fleet: FleetState,
    deployment: DeploymentFact,
    former: PlacedReplica,
    broken: PlacedReplica | None,
) -> int:
    """Return from when who leaves a slot makes way for another successor, 0 for now.

    It serves while that has to wait because the last one broke.
    """
    if broken is None or is_outdated(fleet, deployment, broken) or not is_available(fleet, former):
        return 0
    return vacant_from_us(fleet, fleet.decisions.of(deployment.id), former.slot) or 0


def _serves_at_us(fleet: FleetState, deployment: DeploymentFact, live: PlacedReplica) -> int | None:
    """Return from when a replica counts as available: a new one only when it is well."""
    if is_outdated(fleet, deployment, live):
        return 0 if is_available(fleet, live) else None
    return well_at_us(fleet, live, deployment.spec.rollout.min_healthy_ms)


def _judge(
    fleet: FleetState,
    deployment: DeploymentFact,
    steps: Steps,
    instant_us: int,
) -> None:
    """Go back to the revision before if the new replicas fail."""
    back = way_back(fleet, deployment)
    if back is None:
        return
    due = [reason for due_us, reason in back.causes if due_us <= instant_us]
    if due:
        newest = back.revision_at(instant_us)
        steps.rolled_back = ev.DeploymentRolledBack(
            deployment.id, deployment.version, deployment.revision, newest, due[0]
        )
    for due_us, _ in back.causes:
        if due_us > instant_us:
            steps.later(due_us)
