"""What a node's agent is to do, by the fleet's state, and what changed since it was last told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from fogbank.domain.decisions import Desired
from fogbank.domain.fleet import FleetState


class Wanted(IntEnum):
    """What an agent is to do with a replica; the numbers are the contract's."""

    RUN = 1
    STOP = 2
    FORGET = 3


@dataclass(frozen=True, slots=True)
class Task:
    """A replica and what to do with it; it starts when those in `starts_after` have ended."""

    replica_id: str
    deployment_id: str
    wanted: Wanted
    starts_after: tuple[str, ...] = ()


def tasks_of(fleet: FleetState, node_id: str) -> dict[str, Task]:
    """Return what a node is to run and to stop, by replica id; what has ended is not in it.

    Suspended replicas go on: whether they or their replacements stay, a round will say.
    """
    return {
        placed.id: Task(
            placed.id,
            placed.deployment_id,
            Wanted.STOP if placed.desired is Desired.RELEASED else Wanted.RUN,
            placed.starts_after,
        )
        for placed in fleet.on_node(node_id)
    }


def changed_tasks(before: Mapping[str, Task], now: Mapping[str, Task]) -> tuple[Task, ...]:
    """Return what an agent that was told `before` must be told to know `now`."""
    changed = [task for replica_id, task in now.items() if before.get(replica_id) != task]
    changed += [
        Task(task.replica_id, task.deployment_id, Wanted.FORGET)
        for replica_id, task in before.items()
        if replica_id not in now
    ]
    return tuple(changed)
