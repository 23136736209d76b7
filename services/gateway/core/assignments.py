"""What a node's agent is to do, by the fleet's state, and what changed since it was last told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from fogbank.domain.decisions import Desired, PlacedReplica, was_preempted
from fogbank.domain.fleet import FleetState


class Wanted(IntEnum):
    """What an agent is to do with a replica; the numbers are the contract's."""

    RUN = 1
    STOP = 2
    FORGET = 3


@dataclass(frozen=True, slots=True)
class Task:
    """A replica and what to do with it; it starts when those in `starts_after` have ended.

    To stop it may take `stop_within_ms` at most, 0 for as long as it may anyway.
    """

    replica_id: str
    deployment_id: str
    wanted: Wanted
    starts_after: tuple[str, ...] = ()
    stop_on_client_after_ms: int = 0
    gpu_devices: tuple[int, ...] = ()
    stop_within_ms: int = 0


def tasks_of(fleet: FleetState, node_id: str) -> dict[str, Task]:
    """Return what a node is to run and to stop, by replica id; what has ended is not in it.

    Suspended replicas go on: whether they or their replacements stay, a round will say. Those that
    their node was to stop when it was cut off do not: their replacements may run by now.
    """
    tasks = {}
    eviction_grace_ms = fleet.facts.policy.disruption.eviction_grace_ms
    awaited = _awaited(fleet, node_id) if eviction_grace_ms else set()
    for placed in fleet.on_node(node_id):
        deployment = fleet.facts.deployments.get(placed.deployment_id)
        stop_ms = deployment.spec.disconnect.stop_on_client_after_ms if deployment else 0
        stops = placed.desired is Desired.RELEASED or (
            placed.desired is Desired.SUSPENDED and stop_ms > 0
        )
        tasks[placed.id] = Task(
            placed.id,
            placed.deployment_id,
            Wanted.STOP if stops else Wanted.RUN,
            placed.starts_after,
            stop_ms,
            placed.gpu_devices,
            eviction_grace_ms if was_preempted(placed) or placed.id in awaited else 0,
        )
    return tasks


def _awaited(fleet: FleetState, node_id: str) -> set[str]:
    """Return the stopping replicas on a node that hold the room of one they would give way to."""
    placements = fleet.decisions.placements
    return {
        replica_id
        for placed in fleet.on_node(node_id)
        if placed.starts_after and placed.desired is not Desired.RELEASED
        for replica_id in placed.starts_after
        if (former := placements.get(replica_id)) is not None
        and former.desired is Desired.RELEASED
        and _gives_way(fleet, former, placed)
    }


def _gives_way(fleet: FleetState, former: PlacedReplica, taker: PlacedReplica) -> bool:
    """Tell whether a replica could have been evicted for another one."""
    policy, deployments = fleet.facts.policy, fleet.facts.deployments
    less, more = deployments.get(former.deployment_id), deployments.get(taker.deployment_id)
    limit = policy.gives_way_to(more.spec.priority) if more is not None else None
    if less is None or limit is None or less.spec.priority > limit:
        return False
    return policy.preemption_across_clusters or (
        fleet.cluster_of(former) == fleet.cluster_of(taker)
    )


def changed_tasks(before: Mapping[str, Task], now: Mapping[str, Task]) -> tuple[Task, ...]:
    """Return what an agent that was told `before` must be told to know `now`."""
    changed = [task for replica_id, task in now.items() if before.get(replica_id) != task]
    changed += [
        Task(task.replica_id, task.deployment_id, Wanted.FORGET)
        for replica_id, task in before.items()
        if replica_id not in now
    ]
    return tuple(changed)
