"""Quotas: that rounds keep to them, and who may fail because of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fogbank.checker.report import Findings, Place, Rule
from fogbank.checker.world import DIMENSIONS, Deployment, Replica, World
from fogbank.v1 import resources_pb2, rounds_pb2

_WORDS = (*DIMENSIONS, "replicas")
_NONE = (0,) * len(_WORDS)


def _limits(quota: resources_pb2.Quota) -> list[int | None]:
    given = {known.name: limit for known, limit in quota.ListFields()}
    return [given.get(known.name) for known in quota.DESCRIPTOR.fields]


def _quotas_of(world: World, cluster_id: int) -> Iterator[tuple[str, list[int], list[int | None]]]:
    """Yield the quotas of a cluster: whose, the clusters that share it, its limits."""
    if not 1 <= cluster_id <= len(world.clusters):
        return
    cluster = world.clusters[cluster_id - 1]
    yield f"cluster {cluster_id}", [cluster_id], _limits(cluster.quota)
    owner = cluster.organization_id
    shared = [
        number
        for number, known in enumerate(world.clusters, start=1)
        if known.organization_id == owner
    ]
    common = world.organizations[owner - 1].quota
    yield f"organization {owner}", shared, _limits(common)


def _wanted(deployment: Deployment, replicas: int) -> list[int]:
    return [amount * replicas for amount in (*deployment.ask, 1)]


def above_quota(world: World, deployment: Deployment) -> bool:
    """Tell whether a deployment is more than a quota of its could ever hold."""
    wanted = _wanted(deployment, deployment.replicas)
    return any(
        limit is not None and amount > limit
        for _, _, limits in _quotas_of(world, deployment.cluster_id)
        for amount, limit in zip(wanted, limits, strict=True)
    )


def quota_lacks(world: World, deployment: Deployment, replicas: int) -> str:
    """Return which quota has no room for more replicas, in words; empty if all have."""
    wanted = _wanted(deployment, replicas)
    return _exceeded(world, deployment.cluster_id, wanted, world.used, {})


def _exceeded(
    world: World,
    cluster_id: int,
    more: list[int],
    used: Mapping[int, list[int]],
    taken: Mapping[int, list[int]],
) -> str:
    for owner, clusters, limits in _quotas_of(world, cluster_id):
        for dimension, limit in enumerate(limits):
            if limit is None or not more[dimension]:
                continue
            before = _total(clusters, dimension, used, taken)
            if before + more[dimension] > limit:
                return (
                    f"{before + more[dimension]} of {limit} {_WORDS[dimension]} of the quota of "
                    f"{owner}"
                )
    return ""


def _total(clusters: list[int], dimension: int, *parts: Mapping[int, list[int]]) -> int:
    return sum(part.get(number, _NONE)[dimension] for number in clusters for part in parts)


@dataclass(slots=True)
class Quotas:
    """What is used of quotas while a round goes on: what it frees is free from the next one on,
    but for what it evicts, and (`released`, by deployment and slot) who is taken back instead.
    """

    world: World
    findings: Findings
    limited: bool
    used: dict[int, list[int]]
    taken: dict[int, list[int]] = field(default_factory=dict)
    released: dict[tuple[str, int], Replica] = field(default_factory=dict)

    @classmethod
    def before_round(cls, world: World, findings: Findings) -> Quotas:
        """Begin with what is used in the round's input."""
        limited = any(cluster.quota.ListFields() for cluster in world.clusters) or any(
            organization.quota.ListFields() for organization in world.organizations
        )
        used = {known: list(sums) for known, sums in world.used.items()} if limited else {}
        return cls(world, findings, limited, used)

    def take(
        self, place: Place, deployment: Deployment, outcome: rounds_pb2.DeploymentPlaced
    ) -> None:
        """Judge what an outcome placed, its evictions carried out before."""
        if not self.limited:
            return
        for eviction in outcome.evictions:
            for replica_id in eviction.replica_ids:
                replica = self.world.replicas.get(replica_id)
                victim = self.world.deployments.get(eviction.deployment_id)
                if replica is not None and victim is not None:
                    cluster_id = victim.cluster_of(replica.revision)
                    self._add(cluster_id, (*replica.ask, 1), -1)
        more = [0] * len(_WORDS)
        for placement in outcome.placements:
            placed = self.world.replicas[placement.replica_id]
            former = self.world.replicas.get(placement.replaces)
            # Who only moves to another node has its quota.
            moves = outcome.rebalance or (former and former.revision == placed.revision)
            if not moves:
                more = [sum(pair) for pair in zip(more, (*placed.ask, 1), strict=True)]
            else:
                self._add(deployment.cluster_id, (*placed.ask, 1), 1)
        if much := self._beyond(deployment.cluster_id, more):
            self.findings.add(
                place, Rule.QUOTA, f"deployment {deployment.id} is placed and takes {much}"
            )
        self._add(deployment.cluster_id, tuple(more), 1)

    def exceeded(self, deployment: Deployment, replicas: int) -> str:
        """Return which quota more replicas go beyond, in words; empty if none."""
        return self._beyond(deployment.cluster_id, _wanted(deployment, replicas))

    def release(self, replica: Replica) -> None:
        """Note a replica that stops: who takes its slot back may have its quota."""
        if replica.counted:
            self.released[replica.deployment_id, replica.slot] = replica

    def restore(self, place: Place, replica: Replica, holder: Replica | None) -> None:
        """Judge a replica that counts again, in place of who has its slot, or had it until now."""
        if not self.limited:
            return
        deployment = self.world.deployments[replica.deployment_id]
        cluster_id = deployment.cluster_of(replica.revision)
        former = self.released.pop((replica.deployment_id, replica.slot), None)
        if former is None and holder is not None and holder.counted:
            former = holder
        more = [*replica.ask, 1]
        if former is not None and deployment.cluster_of(former.revision) == cluster_id:
            # Also where a quota is overdrawn by now: nothing is added to it.
            more = [max(a - b, 0) for a, b in zip(more, (*former.ask, 1), strict=True)]
        if much := self._beyond(cluster_id, more):
            self.findings.add(
                place, Rule.QUOTA, f"replica {replica.id} counts again and takes {much}"
            )
        self._add(cluster_id, tuple(more), 1)

    def _beyond(self, cluster_id: int, more: list[int]) -> str:
        return _exceeded(self.world, cluster_id, more, self.used, self.taken)

    def short_with(self, taker: Deployment, victim: Replica) -> bool:
        """Tell whether a quota of who was just placed would be exceeded if a victim had stayed."""
        cluster_id = self.world.deployments[victim.deployment_id].cluster_of(victim.revision)
        sizes = zip((*victim.ask, 1), (*taker.ask, 1), strict=True)
        back = [size if asked else 0 for size, asked in sizes]
        return any(
            limit is not None and back[dimension] and total + back[dimension] > limit
            for _, shared, limits in _quotas_of(self.world, taker.cluster_id)
            if cluster_id in shared
            for dimension, limit in enumerate(limits)
            for total in [_total(shared, dimension, self.used, self.taken)]
        )

    def _add(self, cluster_id: int, amounts: tuple[int, ...], times: int) -> None:
        sums = self.taken.setdefault(cluster_id, [0] * len(_WORDS))
        for dimension, amount in enumerate(amounts):
            sums[dimension] += times * amount
