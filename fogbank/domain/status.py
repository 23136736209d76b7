"""Where deployments stand, derived from facts and decisions, and how that changed.

Status is not in the log: it follows from it. The history of changes is a projection that every
reader of the log comes to alike. Texts of reasons are those of the FUNC-01 document.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fogbank.domain.decisions import DeploymentDecision, PlacedReplica, preempted_reason
from fogbank.domain.facts import DeploymentFact, Observed, state_of
from fogbank.domain.fleet import FleetState
from fogbank.domain.folded import Folded
from fogbank.domain.ids import replica_ids
from fogbank.domain.rollouts import has_probe, wanted_revision
from fogbank.domain.states import DeploymentStatus, Health, ReplicaState
from fogbank.domain.value import value

CREATED_REASON = "Deployment created by user"

# In how many slots of a deployment a replica is placed, runs and is done.
Counts = tuple[int, int, int]


@value
class StatusChange:
    """One change of a deployment's status; `old` is None for the first.

    A rollback is one too, also where the status stays what it was.
    """

    deployment_id: str
    old: DeploymentStatus | None
    new: DeploymentStatus
    changed_at_us: int
    reason: str
    sequence: int


def of_this_life(newest_first: Iterable[StatusChange]) -> tuple[StatusChange, ...]:
    """Return a deployment's changes back to its creation, without those of a former life."""
    found = []
    for change in newest_first:
        found.append(change)
        if change.old is None:
            break
    return tuple(found)


@value
class ReplicaView:
    """A slot of a deployment as it is now; `placed` is None while it waits for a node."""

    id: str
    slot: int
    generation: int
    placed: PlacedReplica | None
    observed: Observed | None
    state: ReplicaState
    unknown: bool = False

    @property
    def running(self) -> bool:
        """Tell whether it is known to run."""
        return self.state is ReplicaState.RUNNING and not self.unknown


def replica_views(fleet: FleetState, deployment: DeploymentFact) -> tuple[ReplicaView, ...]:
    """Return a view for each slot of a deployment.

    A deleted one shows the last replica of each slot; a failed one shows none. Where a replica
    runs on until its successor does, it is the one that serves, and that is shown.
    """
    decision = fleet.decisions.deployments.get(deployment.id)
    if deployment.deleted:
        last: dict[int, PlacedReplica] = {}
        for known_id in decision.replica_ids if decision else ():
            placed = fleet.decisions.placements[known_id]
            last[placed.slot] = placed
        return tuple(placed_view(fleet, last[slot]) for slot in sorted(last))
    if decision is not None and decision.failed_version == deployment.version:
        return ()
    views: list[ReplicaView] = []
    name = None
    for slot in range(deployment.spec.replicas):
        view = _filled_view(fleet, decision, slot) if decision is not None else None
        if view is None:
            name = name or replica_ids(deployment.id)
            generation = (decision.generations.get(slot, 0) if decision is not None else 0) + 1
            view = ReplicaView(
                name(slot, generation), slot, generation, None, None, ReplicaState.PENDING
            )
        views.append(view)
    return tuple(views)


def _filled_view(fleet: FleetState, decision: DeploymentDecision, slot: int) -> ReplicaView | None:
    """Return the view of what serves in a slot, or is to; None for a vacant slot."""
    live = decision.slots.get(slot)
    view = None if live is None else placed_view(fleet, fleet.decisions.placements[live])
    if not decision.leaving:
        return view
    leaving = decision.leaving.get(slot)
    if leaving is not None and not (view is not None and (view.running or _completed(view))):
        former = placed_view(fleet, fleet.decisions.placements[leaving])
        if former.running:
            return former
    return view


def placed_view(fleet: FleetState, placed: PlacedReplica) -> ReplicaView:
    """Return the view of one replica that a round put on a node, whatever its slot is filled by."""
    facts, id_, node_id = fleet.facts, placed.id, placed.node_id
    node = facts.nodes.get(node_id)
    observed = facts.observed.get((id_, node_id))
    silent = node is not None and fleet.offline_since_us(node) is not None
    return ReplicaView(
        id_,
        placed.slot,
        placed.generation,
        placed,
        observed,
        state_of(observed, node),
        silent and (observed is None or not observed.final),
    )


# What a deployment is after which fewer replicas than wanted mean that it is degraded.
_WAS_WELL = frozenset({DeploymentStatus.RUNNING, DeploymentStatus.DEGRADED})


def derive_status(
    fleet: FleetState,
    deployment: DeploymentFact,
    before: DeploymentStatus | None,
    counts: Counts | None = None,
) -> tuple[DeploymentStatus, str]:
    """Return a deployment's status and the reason, given its status so far.

    `counts` are those of its views, for who has them at hand.
    """
    if deployment.deleted:
        return DeploymentStatus.DELETED, "Deployment deleted by user"
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is not None and decision.failed_version == deployment.version:
        return DeploymentStatus.FAILED, decision.reason
    if decision is None and before is None:
        return DeploymentStatus.PENDING, CREATED_REASON
    wanted = deployment.spec.replicas
    placed, running, done = _counts(fleet, decision, wanted) if counts is None else counts
    preempted = _preempted(decision, wanted)
    if placed == 0:
        waiting = preempted or (decision.reason if decision else "")
        if before is None:
            return DeploymentStatus.PENDING, CREATED_REASON
        return DeploymentStatus.PENDING, waiting or _waiting_since(fleet, decision, wanted)
    if done == wanted:
        return DeploymentStatus.COMPLETED, _of_all(wanted, "completed")
    if running + done == wanted:
        return DeploymentStatus.RUNNING, _of_all(wanted, "started successfully")
    if preempted or before in _WAS_WELL:
        return DeploymentStatus.DEGRADED, preempted or f"{running} of {wanted} replicas running"
    if placed == wanted or before is DeploymentStatus.SCHEDULED:
        return DeploymentStatus.SCHEDULED, _scheduled(wanted)
    waiting = decision.reason if decision else ""
    return DeploymentStatus.PENDING, waiting or "Waiting to be scheduled"


def _waiting_since(fleet: FleetState, decision: DeploymentDecision | None, wanted: int) -> str:
    why = _vacated(fleet, decision, wanted)
    return f"Waiting to be scheduled: {why}" if why else "Waiting to be scheduled"


def _vacated(fleet: FleetState, decision: DeploymentDecision | None, wanted: int) -> str:
    """Return in words why the first vacant slot lost its replica; empty if none ever had one."""
    if decision is None:
        return ""
    slot = next((slot for slot in range(wanted) if slot not in decision.slots), wanted)
    for replica_id in reversed(decision.replica_ids):
        placed = fleet.decisions.placements[replica_id]
        if placed.slot == slot and placed.reason:
            node = fleet.facts.nodes.get(placed.node_id)
            why = f"{placed.reason[0].lower()}{placed.reason[1:]}"
            return f"{why} ({node.name})" if node is not None else why
    return ""


def _of_all(replicas: int, what: str) -> str:
    return f"The replica {what}" if replicas == 1 else f"All {replicas} replicas {what}"


def _scheduled(replicas: int) -> str:
    return "Scheduled 1 replica" if replicas == 1 else f"Scheduled {replicas} replicas across nodes"


def _counts(fleet: FleetState, decision: DeploymentDecision | None, wanted: int) -> Counts:
    """Return the counts of a deployment's views.

    They are asked for with every commit that touches it, so no views are made for them.
    """
    if decision is None:
        return 0, 0, 0
    if decision.leaving:
        filled = (_filled_view(fleet, decision, slot) for slot in range(wanted))
        return counts_of([view for view in filled if view is not None])
    placements, observed_of = fleet.decisions.placements, fleet.facts.observed
    placed = running = done = 0
    for slot, replica_id in decision.slots.items():
        if slot >= wanted:
            continue
        placed += 1
        node_id = placements[replica_id].node_id
        observed = observed_of.get((replica_id, node_id))
        if observed is None:
            continue
        if observed.state is ReplicaState.RUNNING:
            running += observed.final or _is_there(fleet, node_id)
        elif observed.state is ReplicaState.COMPLETE:
            done += observed.final
    return placed, running, done


def counts_of(views: Iterable[ReplicaView]) -> Counts:
    """Return the counts of a deployment whose slots have these views."""
    placed = running = done = 0
    for view in views:
        if view.placed is not None:
            placed += 1
            if view.observed is not None:
                running += view.running
                done += _completed(view)
    return placed, running, done


def _is_there(fleet: FleetState, node_id: str) -> bool:
    """Tell whether what a node said still holds: it is of the fleet, and not silent."""
    node = fleet.facts.nodes.get(node_id)
    return node is None or not (node.removed or fleet.offline_since_us(node) is not None)


def _preempted(decision: DeploymentDecision | None, wanted: int) -> str:
    """Return in words who took a replica's room that is still missing; empty if nobody did."""
    if decision is None or not decision.preempted:
        return ""
    takers = decision.preempted
    return next((preempted_reason(takers[slot]) for slot in sorted(takers) if slot < wanted), "")


def _completed(view: ReplicaView) -> bool:
    return view.state is ReplicaState.COMPLETE and view.observed is not None and view.observed.final


def derive_health(
    fleet: FleetState, views: tuple[ReplicaView, ...], status: DeploymentStatus
) -> Health:
    """Healthy when all replicas run and every probe passed, unhealthy when fewer, unknown before.

    `views` are those of all slots of a deployment that has this status.
    """
    if status is DeploymentStatus.PENDING or status is DeploymentStatus.SCHEDULED:
        return Health.UNKNOWN
    if status is DeploymentStatus.RUNNING:
        return _health_of_running(fleet, views)
    if status is DeploymentStatus.COMPLETED:
        return Health.HEALTHY
    return Health.UNKNOWN if status is DeploymentStatus.DELETED else Health.UNHEALTHY


def _health_of_running(fleet: FleetState, views: tuple[ReplicaView, ...]) -> Health:
    health = Health.HEALTHY
    for view in views:
        if view.observed is None or view.observed.health is Health.HEALTHY:
            continue
        if view.observed.health is Health.UNHEALTHY:
            return Health.UNHEALTHY
        if view.running and view.placed is not None and has_probe(fleet, view.placed):
            health = Health.UNKNOWN
    return health


# Where a replica in trouble says more than the status does.
_PLACED = frozenset(
    {DeploymentStatus.SCHEDULED, DeploymentStatus.RUNNING, DeploymentStatus.DEGRADED}
)


def reason_now(
    fleet: FleetState,
    deployment: DeploymentFact,
    views: tuple[ReplicaView, ...],
    status: DeploymentStatus,
    told: str,
) -> str:
    """Return why a deployment has its status, and what is wrong with the first slot in trouble.

    `told` is the reason that came with the status; a status lasts while its slots come and go. Of
    one that was rolled back it says so.
    """
    if status not in _PLACED:
        return told
    told = f"{told}{_gone_back(fleet, deployment)}"
    troubles = [
        (view.slot, words)
        for view in views
        if view.observed is not None and (words := _trouble(fleet, view))
    ]
    if not troubles:
        return told
    (slot, words), *others = troubles
    more = f" and {len(others)} more" if others else ""
    return f"{told}; slot {slot}{more}: {words}"


def _degraded(fleet: FleetState, deployment: DeploymentFact, told: str) -> str:
    """Return why a deployment comes to be degraded, with what became of the first slot in trouble.

    That is not to be seen in its replicas any more once others are in their place.
    """
    views = replica_views(fleet, deployment)
    decision = fleet.decisions.deployments.get(deployment.id)
    now = reason_now(fleet, deployment, views, DeploymentStatus.DEGRADED, told)
    if now != told or _preempted(decision, deployment.spec.replicas):
        return now
    why = _vacated(fleet, decision, deployment.spec.replicas)
    return f"{told}; {why}" if why else told


def _gone_back(fleet: FleetState, deployment: DeploymentFact) -> str:
    """Return in words that replicas are of another revision than asked for; empty if not."""
    wanted = wanted_revision(fleet, deployment)
    if wanted == deployment.revision:
        return ""
    return f"; rolled back from revision {deployment.revision} to {wanted}"


def _trouble(fleet: FleetState, view: ReplicaView) -> str:
    """Return in words what is wrong with a placed replica; empty if nothing is known to be."""
    placed, observed = view.placed, view.observed
    if placed is None or observed is None or _completed(view):
        return ""
    if view.unknown:
        return f"node {fleet.facts.nodes[placed.node_id].name} is offline"
    if observed.health is Health.UNHEALTHY:
        return observed.reason or "its probe fails"
    return observed.reason


def rolled_back_words(decision: DeploymentDecision) -> str:
    """Return in words what a deployment's last rollback was, and why."""
    revisions = f"from revision {decision.bad_revision} to {decision.good_revision}"
    return f"Rolled back {revisions}: {decision.rollback_reason}"


@dataclass(slots=True)
class StatusTracker:
    """Remembers each deployment's status, and tells what a folded commit changed.

    `updated_at_us` is the log time at which its author or its status last changed a deployment.
    """

    current: dict[str, DeploymentStatus] = field(default_factory=dict)
    updated_at_us: dict[str, int] = field(default_factory=dict)

    def update(self, fleet: FleetState, folded: Folded) -> list[StatusChange]:
        """Return the changes that a commit led to, in the order of the deployments' ids.

        What the fleet forgot with it is forgotten here, too.
        """
        changes = []
        for deployment_id in sorted(folded.deployments):
            deployment = fleet.facts.deployments.get(deployment_id)
            if deployment is not None:
                change = self.look(fleet, folded, deployment)
                if change is not None:
                    changes.append(change)
        self.forget(folded.forgotten)
        return changes

    def forget(self, deployment_ids: Iterable[str]) -> None:
        """Forget the statuses of some deployments."""
        for deployment_id in deployment_ids:
            self.current.pop(deployment_id, None)
            self.updated_at_us.pop(deployment_id, None)

    def look(
        self,
        fleet: FleetState,
        folded: Folded,
        deployment: DeploymentFact,
    ) -> StatusChange | None:
        """Return what a commit changed for one of its deployments."""
        before = self.current.get(deployment.id)
        status, reason = derive_status(fleet, deployment, before)
        first_of_commit = folded.verdicts[0].position if folded.verdicts else 0
        rolled_back = deployment.id in folded.rolled_back
        if status is not before or deployment.version >= first_of_commit or rolled_back:
            self.updated_at_us[deployment.id] = folded.log_time_us
        if rolled_back:
            told = rolled_back_words(fleet.decisions.of(deployment.id))
            reason = told if status is before else f"{told}; {reason}"
        elif status is before:
            return None
        if status is DeploymentStatus.DEGRADED:
            reason = _degraded(fleet, deployment, reason)
        self.current[deployment.id] = status
        return StatusChange(
            deployment.id, before, status, folded.log_time_us, reason, folded.sequence
        )
