"""Quotas: what clusters and organizations have left, and asks that go beyond it.

Quotas are looked at before nodes are. What a round has placed counts at once, what it frees only
from the next round on. A replica that moves to another node needs no quota: it has it; one that
comes back with its lost node gave it up, and needs it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fogbank.domain import events as ev
from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.fleet import FleetState
from fogbank.domain.tenancy import UNLIMITED, Quota, Use, use_of
from fogbank.placement.arrays import amounts
from fogbank.placement.filters import QUOTA, too_large_for_any
from fogbank.placement.room import Room, Shortage

REPLICAS = 4
_GPU = 3
_THOUSAND = 1_000
# In the order of `Quota`; one GPU and one replica have names of their own.
_UNITS = ("millicores", "MiB memory", "GiB storage", "GPUs", "replicas")


class Limit(NamedTuple):
    """A quota that an ask must keep to: whose it is, and which clusters share it."""

    owner: str
    clusters: Sequence[int]
    most: tuple[int | None, ...]


class Lack(NamedTuple):
    """How much of what is asked for, and what is left of it; less than nothing if overdrawn."""

    dimension: int
    needed: int
    left: int


def limits_of(fleet: FleetState, cluster_id: int) -> tuple[Limit, ...]:
    """Return the quotas that a cluster's asks must keep to; mostly none."""
    facts = fleet.facts
    cluster = facts.clusters.get(cluster_id)
    if cluster is None:
        return ()
    organization = facts.organizations[cluster.organization_id]
    own, common = cluster.quota, organization.quota
    if own == UNLIMITED and common == UNLIMITED:
        return ()
    return (
        *_limit(f"cluster {cluster_id}", (cluster_id,), own),
        *_limit(f"organization {organization.id}", organization.clusters, common),
    )


def _limit(owner: str, clusters: Sequence[int], quota: Quota) -> tuple[Limit, ...]:
    return () if quota == UNLIMITED else (Limit(owner, clusters, quota.limits),)


def used_of(fleet: FleetState, room: Room, limit: Limit) -> list[int]:
    """Return what is used of a quota, what the round has placed included."""
    sums = [0] * len(limit.most)
    for cluster_id in limit.clusters:
        for part in (fleet.used_by_cluster(cluster_id), room.taken.get(cluster_id)):
            if part is not None:
                sums = [before + more for before, more in zip(sums, part, strict=True)]
    return sums


def lacks_of(fleet: FleetState, room: Room, limit: Limit, need: Use) -> list[Lack]:
    """Return of what a quota has too little left."""
    used = used_of(fleet, room, limit)
    return [
        Lack(dimension, need[dimension], most - used[dimension])
        for dimension, most in enumerate(limit.most)
        if most is not None and need[dimension] and used[dimension] + need[dimension] > most
    ]


def take_back(
    fleet: FleetState, room: Room, placed: PlacedReplica, instead_of: PlacedReplica | None
) -> bool:
    """Take the quota of a replica that is to count again; False, and nothing taken, if it is gone.

    Who stops `instead_of` it gives its own.
    """
    cluster_id = fleet.cluster_of(placed)
    need = use_of(placed.resources, 1)
    if instead_of is not None and fleet.cluster_of(instead_of) == cluster_id:
        given = use_of(instead_of.resources, 1)
        need = Use(*(max(more - less, 0) for more, less in zip(need, given, strict=True)))
    if any(lacks_of(fleet, room, limit, need) for limit in limits_of(fleet, cluster_id)):
        return False
    room.take_quota(cluster_id, need)
    return True


def refused_by_quota(
    fleet: FleetState, room: Room, spec: DeploymentSpec, count: int
) -> Shortage | None:
    """Say why replicas go beyond a quota; None if they don't.

    An ask that no node is large enough for, or for which none is known, is left to the nodes: that
    is the better reason.
    """
    limits = limits_of(fleet, spec.cluster_id)
    if not limits:
        return None
    need = use_of(spec.resources, count)
    for limit in limits:
        if above := _above(limit, need):
            return _shortage(room, above, impossible=True)
    if room.arrays.empty or too_large_for_any(room.arrays, amounts(spec.resources)):
        return None
    for limit in limits:
        if lacks := lacks_of(fleet, room, limit, need):
            return _shortage(room, f"Quota of {limit.owner} is full: {_needs(lacks)}")
    return None


def _shortage(room: Room, reason: str, *, impossible: bool = False) -> Shortage:
    nodes = room.arrays.size
    refusals = ((QUOTA, nodes),) if nodes else ()
    considered = ev.Considered(nodes, 0, refusals)
    return Shortage(reason, 0, considered, impossible=impossible, quota=True)


def _above(limit: Limit, need: Use) -> str:
    """Return which amounts a quota could not even hold if nothing were used; empty for none."""
    above = [
        f"{amount_text(dimension, need[dimension])}, {amount_text(dimension, most)} at most"
        for dimension, most in enumerate(limit.most)
        if most is not None and need[dimension] > most
    ]
    if not above:
        return ""
    return f"Impossible: above the quota of {limit.owner}: needs {'; '.join(above)}"


def _needs(lacks: list[Lack]) -> str:
    parts = []
    for dimension, needed, left in lacks:
        free = max(left, 0)
        number = f"{free / _THOUSAND:g}" if dimension == _GPU else str(free)
        verb = "is" if number == "1" else "are"
        parts.append(f"needs {amount_text(dimension, needed)}, {number} {verb} free")
    return "; ".join(parts)


def amount_text(dimension: int, amount: int) -> str:
    """Return an amount of a quota in words."""
    if dimension == _GPU:
        return "1 GPU" if amount == _THOUSAND else f"{amount / _THOUSAND:g} GPUs"
    if dimension == REPLICAS and amount == 1:
        return "1 replica"
    return f"{amount} {_UNITS[dimension]}"


def quota_hints(fleet: FleetState, room: Room, spec: DeploymentSpec, count: int) -> tuple[str, ...]:
    """Return what would let replicas keep to their quotas; empty if they do."""
    hints = []
    need = use_of(spec.resources, count)
    limits = limits_of(fleet, spec.cluster_id)
    for limit in limits:
        lacks = lacks_of(fleet, room, limit, need)
        if not lacks:
            continue
        more = " and ".join(amount_text(lack.dimension, lack.needed - lack.left) for lack in lacks)
        hints.append(f"{more} more in the quota of {limit.owner}")
        if not _above(limit, need):
            hints.append(f"replicas of {limit.owner} ending or being released that take as much")
    return tuple(hints)


def fitting_quota(fleet: FleetState, room: Room, spec: DeploymentSpec, count: int) -> int:
    """Return how many replicas keep to the quotas, at most `count`."""
    each = use_of(spec.resources, 1)
    fitting = count
    for limit in limits_of(fleet, spec.cluster_id):
        used = used_of(fleet, room, limit)
        for dimension, most in enumerate(limit.most):
            if most is not None and each[dimension]:
                left = max(most - used[dimension], 0)
                fitting = min(fitting, left // each[dimension])
    return fitting
