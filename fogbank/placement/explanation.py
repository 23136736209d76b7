"""Why replicas are where they are, and where others would go: the deciding code, asked to tell.

Nothing here changes anything: looks are made on a copy of the room, with the filters, scores and
answers that rounds are decided with.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fogbank.domain import events as ev
from fogbank.domain.decisions import DeploymentDecision, PlacedReplica, preempted_reason
from fogbank.domain.deployment import HIGH_PRIORITY_FROM, DeploymentSpec
from fogbank.domain.ends import is_broken
from fogbank.domain.explanations import (
    Candidate,
    DeploymentExplanation,
    DeploymentPlan,
    Explanation,
    PlacingRound,
    PlannedEviction,
    Refusal,
)
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import PLANNED_ID
from fogbank.domain.rollouts import as_wanted, is_rolling, rollout_view
from fogbank.domain.tenancy import Use, use_of
from fogbank.placement.arrays import FleetArrays, Integers, amounts
from fogbank.placement.engine import DEFAULT_LIMIT, Planner
from fogbank.placement.filters import REASONS
from fogbank.placement.looks import look, place
from fogbank.placement.needs import Need, Wait, need_of, wait_of
from fogbank.placement.quotas import quota_hints, refused_by_quota
from fogbank.placement.rollouts import steps_of
from fogbank.placement.room import Room, Shortage
from fogbank.placement.strategies import STRATEGIES, Rows, score_rows, strategy_name, terms_of
from fogbank.placement.unblocking import smaller_asks, would_unblock
from fogbank.placement.work import Work

_SECOND_US = 1_000_000
_NAMES_SHOWN = 5


def plan(planner: Planner, spec: DeploymentSpec, instant_us: int) -> DeploymentPlan:
    """Return what a new deployment would lead to if it were decided on now."""
    deployment = DeploymentFact(PLANNED_ID, spec, "", "", 0, instant_us, 0)
    seen = _look(planner, deployment, tuple(range(spec.replicas)), instant_us)
    teller = _Teller(planner.fleet, planner.arrays, planner.arrays.booked, spec)
    explanation = teller.explanation(seen.considered, seen.hints)
    if isinstance(seen.found, Shortage):
        return DeploymentPlan(seen.found.reason, seen.found.available, (), (), explanation)
    return DeploymentPlan(
        "",
        seen.considered.feasible,
        tuple(teller.candidate(each.node_id, each.score) for each in seen.found.placements),
        tuple(
            PlannedEviction(each.deployment_id, each.replica_ids) for each in seen.found.evictions
        ),
        explanation,
    )


def explain(planner: Planner, deployment: DeploymentFact, instant_us: int) -> DeploymentExplanation:
    """Return where a deployment stands and why."""
    fleet, arrays = planner.fleet, planner.arrays
    decision = fleet.decisions.deployments.get(deployment.id)
    now = _look_now(planner, deployment, instant_us) or _look_elsewhere(
        planner, deployment, instant_us
    )
    summary = _summary(fleet, deployment, decision, instant_us)
    if decision is None or not decision.decided_sequence:
        return DeploymentExplanation(summary, now or Explanation(), 0, now)
    without_own, own = arrays.booked.copy(), []
    rounds = _rounds(fleet, decision)
    for replica_id in decision.slots.values():
        placed = fleet.decisions.placements[replica_id]
        # Without what it placed itself, as the decision saw the nodes.
        if placed.placed_sequence != decision.decided_sequence:
            continue
        row = arrays.row(placed.node_id)
        if row is not None and not fleet.ended(placed):
            without_own[:, row] -= amounts(placed.resources)[:, 0]
            own.append(placed)
    arrays = arrays.without_devices_of(own)
    recorded = _Teller(fleet, arrays, without_own, deployment.spec).explanation(
        decision.considered, now.would_unblock if now else ()
    )
    return DeploymentExplanation(summary, recorded, decision.decided_sequence, now, rounds)


def _rounds(fleet: FleetState, decision: DeploymentDecision) -> tuple[PlacingRound, ...]:
    """Return the rounds that placed the replicas in a deployment's slots, newest first."""
    slots: dict[tuple[int, int], list[int]] = {}
    for slot in sorted(decision.slots):
        placed = fleet.decisions.placements[decision.slots[slot]]
        slots.setdefault((placed.placed_sequence, placed.placed_at_us), []).append(slot)
    return tuple(
        PlacingRound(sequence, instant_us, tuple(slots[sequence, instant_us]))
        for sequence, instant_us in sorted(slots, reverse=True)
    )


def _look_now(planner: Planner, deployment: DeploymentFact, instant_us: int) -> Explanation | None:
    """Return a look for the slots that lack a node; None if none does."""
    fleet = planner.fleet
    if deployment.deleted:
        return None
    slots = tuple(slot for slot, _ in need_of(fleet, deployment).vacant)
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is not None and decision.failed_version == deployment.version:
        slots = tuple(
            slot for slot in range(deployment.spec.replicas) if slot not in decision.slots
        )
    waiting = None
    if not slots and is_rolling(fleet, deployment):
        waiting = next(iter(steps_of(fleet, deployment, instant_us).candidates), None)
        slots = (waiting.slot,) if waiting is not None else ()
    if not slots:
        return None
    deployment = as_wanted(fleet, deployment)
    seen = _look(planner, deployment, slots, instant_us)
    hints = seen.hints or (_why_not_yet(fleet, deployment, instant_us),)
    if waiting is not None and seen.hints:
        hints += _without_the_old_one(planner, deployment, waiting)
    teller = _Teller(fleet, planner.arrays, planner.arrays.booked, deployment.spec)
    return teller.explanation(seen.considered, hints)


def _drained(fleet: FleetState, deployment: DeploymentFact) -> PlacedReplica | None:
    """Return the first replica on a draining node that has no successor; None without one."""
    decision = fleet.decisions.of(deployment.id)
    if deployment.deleted or decision.failed_version == deployment.version:
        return None
    for slot in sorted(decision.slots):
        placed = fleet.decisions.placements[decision.slots[slot]]
        there = placed.node_id in fleet.facts.draining and not fleet.ended(placed)
        if there and slot not in decision.leaving:
            return placed
    return None


def _look_elsewhere(
    planner: Planner, deployment: DeploymentFact, instant_us: int
) -> Explanation | None:
    """Return a look for the successor of a replica whose node is drained; None if none waits."""
    fleet, arrays = planner.fleet, planner.arrays
    placed = _drained(fleet, deployment)
    if placed is None:
        return None
    deployment = as_wanted(fleet, deployment)
    slots = (placed.slot,)
    try:
        found = place(fleet, Room.of(arrays), deployment, slots, instant_us)
    finally:
        arrays.put_devices_back()
    hints = would_unblock(fleet, Room.of(arrays), deployment.id, deployment.spec, slots)
    teller = _Teller(fleet, arrays, arrays.booked, deployment.spec)
    return teller.explanation(found.considered, hints or ("nothing: there is room, and it moves",))


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look came to, what it looked at, and what would let it come to more."""

    found: ev.DeploymentPlaced | Shortage
    considered: ev.Considered
    hints: tuple[str, ...]


def _look(
    planner: Planner, deployment: DeploymentFact, slots: tuple[int, ...], instant_us: int
) -> _Look:
    """Look as a round would, on room of its own; the devices it takes are put back."""
    try:
        return _looked(planner, deployment, slots, instant_us)
    finally:
        planner.arrays.put_devices_back()


def _looked(
    planner: Planner, deployment: DeploymentFact, slots: tuple[int, ...], instant_us: int
) -> _Look:
    fleet, arrays, spec = planner.fleet, planner.arrays, deployment.spec
    work = Work(instant_us, Room.of(arrays), planner.agenda, planner.victims, DEFAULT_LIMIT)
    found = look(fleet, work, deployment, slots)
    considered = found.considered
    if not considered.nodes and arrays.size:
        # Turned down before any node was looked at: the nodes are told all the same.
        considered = place(fleet, Room.of(arrays), deployment, slots, instant_us).considered
    if not isinstance(found, Shortage):
        return _Look(found, considered, ())
    hints = quota_hints(fleet, work.room, spec, len(slots))
    hints += would_unblock(fleet, Room.of(arrays), deployment.id, spec, slots)
    if hints:
        hints += smaller_asks(fleet, arrays, deployment, slots, instant_us)
    return _Look(found, considered, hints or (found.reason,))


def _without_the_old_one(
    planner: Planner, deployment: DeploymentFact, old: PlacedReplica
) -> tuple[str, ...]:
    """Say that an update would go on if the old replica might go first, where it may not."""
    fleet, spec, row = planner.fleet, deployment.spec, planner.arrays.row(old.node_id)
    if spec.rollout.max_unavailable or row is None or fleet.cluster_of(old) != spec.cluster_id:
        return ()
    room = Room.of(planner.arrays.without_devices_of([old]))
    room.free(row, amounts(old.resources))
    room.take_quota(spec.cluster_id, Use(*(-each for each in use_of(old.resources, 1))))
    if refused_by_quota(fleet, room, spec, 1):
        return ()
    if would_unblock(fleet, room, deployment.id, spec, (old.slot,)):
        return ()
    return ("letting one replica be missing meanwhile (max_unavailable: 1)",)


def _why_not_yet(fleet: FleetState, deployment: DeploymentFact, instant_us: int) -> str:
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is not None and decision.failed_version == deployment.version:
        return "there is room now, but it failed for good: scale it, or deploy it anew"
    ready_us = min((at for _, at in need_of(fleet, deployment).vacant), default=0)
    if ready_us > instant_us:
        return f"nothing: there is room, and it is replaced in {_in_seconds(ready_us, instant_us)}"
    return "nothing: there is room, and its turn is next"


class _Teller:
    """Turns what a look found into words, with the terms of scores on the room it saw."""

    def __init__(
        self, fleet: FleetState, arrays: FleetArrays, booked: Integers, spec: DeploymentSpec
    ) -> None:
        self._policy = fleet.facts.policy
        self._arrays = arrays
        self._booked = booked
        self._spec = spec

    def explanation(self, seen: ev.Considered, hints: tuple[str, ...] = ()) -> Explanation:
        return Explanation(
            seen.nodes,
            seen.feasible,
            tuple(Refusal(name, nodes, REASONS.get(name, name)) for name, nodes in seen.refusals),
            tuple(self.candidate(node_id, points) for node_id, points in seen.best),
            hints,
        )

    def candidate(self, node_id: str, points: int) -> Candidate:
        row = self._arrays.row(node_id)
        if row is None:  # removed since
            return Candidate(node_id, "", points, 0)
        name = self._arrays.names[row]
        if strategy_name(self._spec, self._policy) not in STRATEGIES:  # another release's
            return Candidate(node_id, name, points, 0)
        one = Rows.of(self._arrays, self._booked, [row])
        ask = amounts(self._spec.resources)
        terms = terms_of(one, ask, self._spec, self._policy)
        return Candidate(
            node_id,
            name,
            points,
            int(score_rows(one, ask, self._spec, self._policy)[0]),
            tuple((term, float(value[0])) for term, value in terms.items()),
        )


def _summary(
    fleet: FleetState,
    deployment: DeploymentFact,
    decision: DeploymentDecision | None,
    instant_us: int,
) -> str:
    if deployment.deleted:
        return "Deleted by its author."
    if decision is not None and decision.failed_version == deployment.version:
        return f"Failed: {decision.reason}."
    need, wanted = need_of(fleet, deployment), deployment.spec.replicas
    if not need.vacant:
        all_ = "The replica has" if wanted == 1 else f"All {wanted} replicas have"
        text = f"{all_} a node: {_node_names(fleet, decision)}."
        text += _who_gave_way(fleet, deployment, decision)
        if is_rolling(fleet, deployment):
            rollout = rollout_view(fleet, deployment)
            waits = f"; it waits for {rollout.waits_for}" if rollout.waits_for else ""
            text = f"{text} An update goes on: {rollout.message}{waits}."
        return text + _who_is_to_move(fleet, deployment)
    text = f"{len(need.vacant)} of {wanted} replicas wait for a node"
    if wanted == 1:
        text = "The replica waits for a node"
    why = decision.reason if decision is not None else ""
    if why := why or _what_broke(fleet, decision, need):
        text = f"{text}: {why}"
    return f"{text}. {_when(need, wait_of(decision, deployment), instant_us)}"


def _who_is_to_move(fleet: FleetState, deployment: DeploymentFact) -> str:
    placed = _drained(fleet, deployment)
    if placed is None:
        return ""
    node = fleet.facts.nodes[placed.node_id]
    ends = ", and is stopped at the drain's deadline" if node.drain_deadline_us else ""
    return (
        f" {node.name} is being drained: the replica in slot {placed.slot} runs on there until "
        f"another node has room for its successor{ends}."
    )


def _who_gave_way(
    fleet: FleetState, deployment: DeploymentFact, decision: DeploymentDecision | None
) -> str:
    """Say whose replicas were evicted for those in a deployment's slots, and why; empty if none."""
    if decision is None or deployment.spec.priority < HIGH_PRIORITY_FROM:
        return ""  # mostly so: nobody gives way to it
    placements, reason = fleet.decisions.placements, preempted_reason(deployment.id)
    rounds = {placements[known].placed_sequence for known in decision.slots.values()}
    victims = Counter(
        placed.deployment_id
        for placed in placements.values()
        if placed.reason == reason and placed.decided_sequence in rounds
    )
    if not victims:
        return ""
    named = []
    for deployment_id, count in victims.most_common(_NAMES_SHOWN):
        known = fleet.facts.deployments.get(deployment_id)
        priority = f" (priority {known.spec.priority})" if known is not None else ""
        named.append(f"{count} of deployment {deployment_id}{priority}")
    more = f" and of {len(victims) - len(named)} more" if len(victims) > len(named) else ""
    gap = fleet.facts.policy.preemption_gap
    return (
        f" For want of room others gave way to it: {', '.join(named)}{more}. They are less "
        f"important by {gap} or more, and among such ones cost least."
    )


def _what_broke(fleet: FleetState, decision: DeploymentDecision | None, need: Need) -> str:
    """Return in words how the one before ended, of the first vacant slot where one broke."""
    for slot, _ in need.vacant:
        replica_id = decision.slots.get(slot) if decision is not None else None
        placed = fleet.decisions.placements[replica_id] if replica_id is not None else None
        observed = fleet.observed(placed) if placed is not None else None
        if placed is not None and observed is not None and is_broken(observed):
            node = fleet.facts.nodes[placed.node_id].name
            why = observed.reason or "nobody knows why"
            return f"the one before in slot {slot} broke on {node}: {why}"
    return ""


def _node_names(fleet: FleetState, decision: DeploymentDecision | None) -> str:
    # Of a slot without a replica the one that still leaves it.
    slots = {**decision.leaving, **decision.slots} if decision else {}
    names = [
        fleet.facts.nodes[fleet.decisions.placements[slots[slot]].node_id].name
        for slot in sorted(slots)
    ]
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _when(need: Need, wait: Wait | None, instant_us: int) -> str:
    if wait is None:
        ready_us = min(at for _, at in need.vacant)
        if ready_us > instant_us:
            return f"It is replaced in {_in_seconds(ready_us, instant_us)}."
        return "It is looked at in the next round."
    if wait.at_us is None:
        return "It is looked at again when room appears."
    return (
        f"Try {wait.attempt} found no room; it is looked at again in "
        f"{_in_seconds(wait.at_us, instant_us)}, or when room appears."
    )


def _in_seconds(at_us: int, instant_us: int) -> str:
    return f"{max(-(-(at_us - instant_us) // _SECOND_US), 0)} s"
