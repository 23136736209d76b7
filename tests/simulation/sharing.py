"""What tenants share, drawn apart: clusters with quotas that change, rebalances, guarded replicas.

A run without any of it is what it was before there were tenants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from fogbank.domain.deployment import STOP_GRACE_MS, DeploymentSpec, DisconnectRules
from fogbank.domain.rebalancing import RebalanceTerms
from fogbank.domain.tenancy import UNLIMITED, Quota

StepKind = Literal["cluster", "organization", "rebalance"]
# A quota is a share of the fleet's room, in percent; None for no limit.
_SHARES = (None, 0, 25, 50, 50, 50, 150)
_REPLICAS_A_CORE = 2
_CORE = 1_000


@dataclass(frozen=True, slots=True)
class Room:
    """What the machines of a fleet have at first; quotas are shares of it."""

    cpu_millicores: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Step:
    """Something that an operator asks for: when, what about, and a number to choose by."""

    at_s: float
    kind: StepKind
    pick: int


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who shares a run's fleet, and what operators do about it.

    `organizations` are those of the clusters beside the first one, 1 being the one that is always
    there. At the end quotas are `lifted`, or stay as they are, and there may be a `last`
    rebalance when nothing goes wrong any more. `guarded` is the share of deployments with rules
    for nodes that are cut off.
    """

    room: Room
    organizations: tuple[int, ...]
    quotas: tuple[Quota, ...]
    steps: tuple[Step, ...]
    lifted: bool
    guarded: float
    last: RebalanceTerms | None = None


def sharing_of(random: Random, room: Room, lasts_s: float) -> Sharing:
    """Draw who shares a fleet."""
    clusters = random.choice((1, 2, 3))
    kinds: list[StepKind] = ["cluster", "cluster", "organization", "organization"]
    kinds += ["rebalance"] * random.choice((0, 1, 2))
    steps = [
        Step(random.uniform(lasts_s / 20, lasts_s), random.choice(kinds), random.getrandbits(32))
        for _ in range(random.choice((2, 5, 9)))
    ]
    return Sharing(
        room,
        tuple(random.choice((1, 2)) for _ in range(clusters)),
        tuple(a_quota(random, room) for _ in range(clusters)),
        tuple(sorted(steps, key=lambda step: step.at_s)),
        lifted=random.random() < 0.5,
        guarded=random.choice((0.0, 0.3, 0.7)),
    )


def a_quota(random: Random, room: Room) -> Quota:
    """Draw a quota: nothing, a share of a fleet's room, more than it has, or no limit."""
    share = random.choice(_SHARES)
    limited = random.choice(("cpu", "memory", "replicas", "cpu and replicas"))
    if share is None:
        return UNLIMITED
    cpu, memory = room.cpu_millicores * share // 100, room.memory_mib * share // 100
    return Quota(
        cpu_millicores=cpu if "cpu" in limited else None,
        memory_mib=memory if limited == "memory" else None,
        replicas=cpu * _REPLICAS_A_CORE // _CORE if "replicas" in limited else None,
    )


def some_terms(random: Random) -> RebalanceTerms:
    """Draw how much a rebalance may do; nothing stops the one before."""
    return RebalanceTerms(
        random.choice((0, 1, 5, 100)), random.choice((1, 10, 100)), random.choice((1, 3))
    )


def as_tenant(
    spec: DeploymentSpec, random: Random, cluster_ids: list[int], sharing: Sharing
) -> DeploymentSpec:
    """Put a deployment into one of the clusters known so far, with rules for cut off nodes."""
    cluster_id = cluster_ids[random.randrange(len(cluster_ids))]
    waits, guarded = random.random() < 0.7, random.random() < sharing.guarded
    stop_ms, more_ms = random.choice((0, 1_000, 1_000, 4_000)), random.choice((500, 5_000))
    rules = DisconnectRules(
        lost_after_ms=stop_ms + STOP_GRACE_MS + more_ms,
        replace=random.random() < 0.85,
        stop_on_client_after_ms=stop_ms,
    )
    return replace(
        spec,
        cluster_id=cluster_id,
        wait_for_capacity=spec.wait_for_capacity or waits,
        disconnect=rules if guarded else spec.disconnect,
    )
