"""What rounds do with replicas that have a node: release, suspend, restore."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.deployment import DisconnectRules
from fogbank.domain.facts import DeploymentFact, NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import NOTHING
from fogbank.domain.rollouts import completed
from fogbank.placement.agenda import Agenda
from fogbank.placement.arrays import FleetArrays, amounts
from fogbank.placement.needs import Need, need_of, serves
from fogbank.placement.quotas import take_back
from fogbank.placement.room import Room
from fogbank.placement.strategies import STRATEGIES, score, strategy_name
from fogbank.placement.work import Work

_MS = 1_000
# Of a deployment that says nothing of its own.
_POLICYS = DisconnectRules()


def suspend_lost(fleet: FleetState, work: Work) -> Iterator[list[ev.Outcome]]:
    """Give up the replicas on nodes that were silent for too long."""
    due_us = next_loss_us(fleet, work.agenda)
    if due_us is None or due_us > work.instant_us:
        return
    for loss in losses(fleet):
        for outcome in suspensions(fleet, loss, work.instant_us):
            yield [outcome]


def next_loss_us(fleet: FleetState, agenda: Agenda) -> int | None:
    """Return from when the first replica on a silent node counts as lost."""
    if not agenda.losing:
        return None  # nodes that are dead for good may stay in the fleet for years
    return agenda.next_loss_us(partial(_next_loss_us, fleet, agenda.losing))


def see_silent(fleet: FleetState, agenda: Agenda, node_ids: Iterable[str]) -> None:
    """Note which of some nodes, as they are now, are silent with replicas that will be lost."""
    for node_id in node_ids:
        if node_id in fleet.silent and next(_waits_on(fleet, node_id, {}), None):
            agenda.losing[node_id] = None
        else:
            agenda.losing.pop(node_id, None)


def _next_loss_us(fleet: FleetState, losing: Container[str]) -> int | None:
    waits: dict[str, int | None] = {}
    return min(
        (
            max(loss.silent_since_us + after_us, loss.not_before_us)
            for loss in losses(fleet)
            if loss.node.id in losing
            for after_us in _waits_on(fleet, loss.node.id, waits)
        ),
        default=None,
    )


def _waits_on(fleet: FleetState, node_id: str, known: dict[str, int | None]) -> Iterator[int]:
    """Yield the silence after which each live replica on a node counts as lost.

    `known` has it by deployment, as far as somebody asked: after an outage this is asked for
    thousands of replicas with every fold, and those of a deployment wait for the same time.
    """
    for placed in fleet.use(node_id).replicas.values():
        if placed.desired is not Desired.LIVE:
            continue
        deployment_id = placed.deployment_id
        if deployment_id not in known:
            deployment = fleet.facts.deployments.get(deployment_id)
            known[deployment_id] = _wait_us(fleet, deployment) if deployment is not None else None
        after_us = known[deployment_id]
        if after_us is not None:
            yield after_us


def settle_all(fleet: FleetState, work: Work) -> Iterator[list[ev.Outcome]]:
    """Release what is unwanted and settle what came back."""
    for deployment_id in work.agenda.to_settle():
        if deployment_id not in work.moved:
            deployment = fleet.facts.deployments[deployment_id]
            need = need_of(fleet, deployment)
            yield settle(fleet, work.room, deployment, need)


def settling_due_us(_fleet: FleetState, agenda: Agenda) -> int | None:
    """Return 0 while there is something to settle."""
    return 0 if agenda.settling else None


def settle(
    fleet: FleetState, room: Room, deployment: DeploymentFact, need: Need
) -> list[ev.Outcome]:
    """Return the outcomes that release what is unwanted and settle what came back."""
    outcomes: list[ev.Outcome] = []
    if need.unwanted:
        outcomes.append(ev.ReplicasReleased(deployment.id, need.unwanted, need.unwanted_reason))
    if need.relieved:
        outcomes.append(ev.ReplicasReleased(deployment.id, need.relieved, "Its successor runs"))
    settled: set[int] = set()
    for replica_id in need.returned:
        slot = fleet.decisions.placements[replica_id].slot
        if slot not in settled:  # another one of the same slot has to meet the winner: next round
            settled.add(slot)
            outcomes += _settle_returned(fleet, room, deployment, replica_id)
    return outcomes


def _settle_returned(
    fleet: FleetState, room: Room, deployment: DeploymentFact, replica_id: str
) -> list[ev.Outcome]:
    """Choose between a replica whose node came back and the one that took its slot.

    The only one of the two that serves wins: drains and rollouts go on from there. Else one that
    completed, else one of a newer version, else the one on the better node, else the original.
    Where nobody has the slot, it is the original's if there is quota for it.
    """
    if deployment.spec.disconnect.stop_on_client_after_ms:
        # Its agent has been told to stop it, if it had not by itself: nothing can be restored.
        reason = "Stopped by its node while that was cut off"
        return [ev.ReplicasReleased(deployment.id, (replica_id,), reason)]
    original = fleet.decisions.placements[replica_id]
    successor_id = fleet.decisions.of(deployment.id).slots.get(original.slot)
    restored = ev.ReplicasRestored(deployment.id, (replica_id,))
    replaced = ev.ReplicasReleased(deployment.id, (replica_id,), "Replaced while its node was lost")
    out_of_quota = ev.ReplicasReleased(deployment.id, (replica_id,), "Its quota was taken")
    if successor_id is None:
        return [restored if take_back(fleet, room, original, None) else out_of_quota]
    successor = fleet.decisions.placements[successor_id]
    ended = fleet.ended(successor)
    if serves(fleet, successor) or not serves(fleet, original):
        if original.node_id in fleet.facts.draining or completed(fleet, successor):
            return [replaced]
        newer = successor.version > original.version
        if not ended and (newer or _is_better(fleet, room.arrays, deployment, successor, original)):
            return [replaced]
    if ended:
        return [restored if take_back(fleet, room, original, None) else out_of_quota]
    if not take_back(fleet, room, original, successor):
        return [replaced]
    return [
        ev.ReplicasReleased(deployment.id, (successor_id,), "Its predecessor's node came back"),
        restored,
    ]


def _is_better(
    fleet: FleetState,
    arrays: FleetArrays,
    deployment: DeploymentFact,
    successor: PlacedReplica,
    original: PlacedReplica,
) -> bool:
    """Tell whether a successor has the better node."""
    worth = [_worth(fleet, arrays, deployment, placed) for placed in (successor, original)]
    return worth[0] > worth[1]


def _worth(
    fleet: FleetState, arrays: FleetArrays, deployment: DeploymentFact, placed: PlacedReplica
) -> int:
    """Return the score of the node a replica is on, with the replica there; -1 without one."""
    row, policy = arrays.row(placed.node_id), fleet.facts.policy
    if row is None or strategy_name(deployment.spec, policy) not in STRATEGIES:
        return -1
    nothing = amounts(NOTHING)
    scores = score(arrays, arrays.booked, nothing, deployment.spec, policy, selection=[row])
    return int(scores[0])


def silent_nodes(
    fleet: FleetState, observations: tuple[ev.NodeSilence, ...]
) -> list[ev.NodeOffline]:
    """Return the nodes that observations put offline: those still in the epoch that was seen."""
    return [
        ev.NodeOffline(seen.node_id, seen.epoch, seen.last_heard_at_us)
        for seen in observations
        if (node := fleet.facts.nodes.get(seen.node_id)) is not None
        and node.epoch == seen.epoch
        and not node.removed
        and fleet.offline_since_us(node) is None
    ]


@dataclass(frozen=True, slots=True)
class Loss:
    """A silent node whose replicas may be given up: none of them before `not_before_us`."""

    node: NodeFact
    silent_since_us: int
    not_before_us: int = 0


def losses(fleet: FleetState) -> list[Loss]:
    """Return the silent nodes whose replicas may be given up.

    If every node of the fleet is silent none is lost: then it is likelier that we are the broken
    part than that all of them are. So it was, too, while those that are heard have all just shaken
    hands: the others get as long to do so as a node may be silent.
    """
    by_region: dict[str, list[Loss]] = {}
    for node_id in sorted(fleet.silent):
        node = fleet.facts.nodes[node_id]
        since_us = fleet.offline_since_us(node)
        if since_us is not None:
            by_region.setdefault(node.fingerprint.region, []).append(Loss(node, since_us))
    if not by_region or len(fleet.silent) == fleet.node_count:
        return []
    found = [loss for region in sorted(by_region) for loss in _guarded(fleet, by_region[region])]
    first_us = min(loss.silent_since_us for loss in found)
    if any(node.connected_at_us <= first_us for node in _heard(fleet)):
        return found
    heard_us = min(node.connected_at_us for node in _heard(fleet))
    not_before_us = heard_us + lost_after_us(fleet, _POLICYS)
    return [replace(loss, not_before_us=max(loss.not_before_us, not_before_us)) for loss in found]


def _heard(fleet: FleetState) -> Iterator[NodeFact]:
    for node in fleet.facts.nodes.values():
        if not node.removed and fleet.offline_since_us(node) is None:
            yield node


def _guarded(fleet: FleetState, there: list[Loss]) -> list[Loss]:
    """Put losses off in a region where too many nodes are silent at once for that to be likely."""
    rules = fleet.facts.policy.disruption
    nodes = fleet.nodes_in(there[0].node.fingerprint.region)
    share = len(there) * 100
    if nodes >= rules.guard_nodes and share >= rules.guard_silent_percent * nodes:
        return _one_by_one(fleet, there)
    return there


def _one_by_one(fleet: FleetState, there: list[Loss]) -> list[Loss]:
    """Return losses in order, none before the policy's time, each a pause after the one before."""
    pause_us = fleet.facts.policy.disruption.guard_pause_ms * _MS
    after_us = lost_after_us(fleet, _POLICYS)
    spread: list[Loss] = []
    for loss in sorted(there, key=lambda loss: (loss.silent_since_us, loss.node.order)):
        earliest_us = spread[-1].not_before_us + pause_us if spread else 0
        not_before_us = max(loss.silent_since_us + after_us, earliest_us)
        spread.append(replace(loss, not_before_us=not_before_us))
    return spread


def lost_after_us(fleet: FleetState, rules: DisconnectRules) -> int:
    """Return the silence after which replicas with such rules are replaced, in microseconds."""
    policy = fleet.facts.policy
    period_ms = policy.heartbeat_period_for_ms(fleet.node_count)
    lost_ms = rules.replaced_after_ms(policy.lost_after_ms)
    return max(lost_ms, policy.silent_periods * period_ms) * _MS


def _losing(fleet: FleetState, loss: Loss) -> Iterator[tuple[PlacedReplica, int]]:
    """Yield the live replicas on a silent node, each with the instant it counts as lost from."""
    if not fleet.use(loss.node.id).live:
        return
    for placed in fleet.on_node(loss.node.id):
        deployment = fleet.facts.deployments.get(placed.deployment_id)
        if placed.desired is not Desired.LIVE or deployment is None:
            continue
        due_us = lost_at_us(fleet, loss, deployment)
        if due_us is not None:
            yield placed, due_us


def lost_at_us(fleet: FleetState, loss: Loss, deployment: DeploymentFact) -> int | None:
    """Return from when a deployment's replicas on a silent node count as lost; None for never."""
    after_us = _wait_us(fleet, deployment)
    return None if after_us is None else max(loss.silent_since_us + after_us, loss.not_before_us)


def _wait_us(fleet: FleetState, deployment: DeploymentFact) -> int | None:
    """Return the silence after which a deployment's replicas are lost; None for never."""
    rules = deployment.spec.disconnect
    if deployment.deleted or not rules.replace:
        return None
    return lost_after_us(fleet, rules)


def suspensions(fleet: FleetState, loss: Loss, instant_us: int) -> list[ev.ReplicasSuspended]:
    """Return the outcomes that give up the replicas that count as lost on a silent node."""
    by_deployment: dict[str, list[str]] = {}
    for placed, due_us in _losing(fleet, loss):
        if due_us <= instant_us:
            by_deployment.setdefault(placed.deployment_id, []).append(placed.id)
    return [
        ev.ReplicasSuspended(deployment_id, tuple(replica_ids), loss.node.id)
        for deployment_id, replica_ids in by_deployment.items()
    ]
