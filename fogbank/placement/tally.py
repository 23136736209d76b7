"""Figures of a world: what its rounds decided, how full its nodes were, how deployments fared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from fogbank.domain import events as ev
from fogbank.domain.comparison import FIGURES, Fate
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.policy import Policy
from fogbank.placement.engine import Planner
from fogbank.placement.worth import Stand

_COUNTED = FIGURES[:9]
_DIMENSIONS = ("cpu", "memory", "storage", "gpu")
# How full nodes are is looked at so often, in log time.
_LOOK_EVERY_US = 1_000_000
_PERCENT = 100.0


class Tally:
    """Counts what happens from now on."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._waited_us: dict[str, int] = {}
        self._first_nodes: dict[str, tuple[str, ...]] = {}
        self._evicted: Counter[str] = Counter()
        self._looked_at_us = 0
        self._full_us = np.zeros(len(_DIMENSIONS) + 1)
        self._passed_us = 0

    def met(self, deployment_id: str) -> bool:
        """Tell whether a deployment was placed or evicted."""
        return deployment_id in self._first_nodes or deployment_id in self._evicted

    def round(self, fleet: FleetState, event: ev.RoundDecided) -> None:
        """Count what a round decided that was just folded."""
        self._counts["rounds"] += 1
        for outcome in event.outcomes:
            match outcome:
                case ev.DeploymentPlaced():
                    self._placed(fleet, outcome, event.instant_us)
                case ev.DeploymentDeferred():
                    self._counts["deferrals"] += 1
                case ev.DeploymentFailed():
                    self._counts["failures"] += 1
                case ev.ReplicasReleased():
                    self._counts["replicas_released"] += len(outcome.replica_ids)
                case ev.ReplicasSuspended():
                    self._counts["replicas_lost"] += len(outcome.replica_ids)
                case _:
                    pass

    def _placed(self, fleet: FleetState, outcome: ev.DeploymentPlaced, instant_us: int) -> None:
        self._counts["replicas_placed"] += len(outcome.placements)
        for eviction in outcome.evictions:
            self._counts["preemptions"] += 1
            self._counts["replicas_evicted"] += len(eviction.replica_ids)
            self._evicted[eviction.deployment_id] += 1
        id_ = outcome.deployment_id
        deployment = fleet.facts.deployments.get(id_)
        if deployment is None or id_ in self._first_nodes:
            return
        self._first_nodes[id_] = tuple(_name(fleet, each.node_id) for each in outcome.placements)
        if all(each.generation == 1 for each in outcome.placements):
            self._counts["deployments_placed"] += 1
            self._waited_us[id_] = max(instant_us - deployment.created_at_us, 0)

    def pass_time(self, planner: Planner, log_time_us: int) -> None:
        """Note how full the nodes are, for the time that has passed since the last look."""
        passed_us = log_time_us - self._looked_at_us
        if passed_us < _LOOK_EVERY_US:
            return
        if self._looked_at_us:
            self._full_us += passed_us * np.array([*_shares(planner), _used(planner)])
            self._passed_us += passed_us
        self._looked_at_us = log_time_us

    def counts(self) -> Mapping[str, float]:
        """Return what was counted so far."""
        return {name: float(self._counts[name]) for name in _COUNTED}

    def figures(
        self, planner: Planner, *, actual: Policy, alternative: Policy
    ) -> Mapping[str, float]:
        """Return all figures at the end; both worlds are judged by both policies."""
        found = dict(self.counts())
        fleet = planner.fleet
        alive = [each for each in fleet.facts.deployments.values() if not each.deleted]
        standing = Counter(_standing(fleet, each) for each in alive)
        for name in ("placed", "partly placed", "waiting", "failed"):
            found[f"end_{name.replace(' ', '_')}"] = float(standing[name])
        found["end_nodes_used"] = float(_used(planner))
        for name, share in zip(_DIMENSIONS, _shares(planner), strict=True):
            found[f"end_{name}_percent"] = round(share, 3)
        if self._passed_us:
            means = self._full_us / self._passed_us
            for name, share in zip(_DIMENSIONS, means, strict=False):
                found[f"mean_{name}_percent"] = round(float(share), 3)
            found["mean_nodes_used"] = round(float(means[-1]), 3)
        found |= self._waits()
        found["points_by_actual_policy"] = _points(planner, actual)
        found["points_by_alternative_policy"] = _points(planner, alternative)
        return found

    def _waits(self) -> dict[str, float]:
        waits_ms = sorted(each / 1_000 for each in self._waited_us.values())
        if not waits_ms:
            return {}
        return {
            "wait_mean_ms": round(sum(waits_ms) / len(waits_ms), 3),
            "wait_p95_ms": round(waits_ms[len(waits_ms) * 95 // 100], 3),
        }

    def fate(self, fleet: FleetState, deployment: DeploymentFact) -> Fate:
        """Return what became of a deployment."""
        decision = fleet.decisions.deployments.get(deployment.id)
        nodes = self._first_nodes.get(deployment.id, ())
        if not deployment.deleted:
            slots = decision.slots if decision is not None else {}
            placements = fleet.decisions.placements
            nodes = tuple(_name(fleet, placements[slots[slot]].node_id) for slot in sorted(slots))
        waited_us = self._waited_us.get(deployment.id)
        return Fate(
            _standing(fleet, deployment),
            nodes,
            self._evicted[deployment.id],
            -1 if waited_us is None else waited_us // 1_000,
        )


def _standing(fleet: FleetState, deployment: DeploymentFact) -> str:
    if deployment.deleted:
        return "deleted"
    decision = fleet.decisions.deployments.get(deployment.id)
    filled = len(decision.slots) if decision is not None else 0
    if filled >= deployment.spec.replicas:
        return "placed"
    if decision is not None and decision.failed_version == deployment.version:
        return "failed"
    return "partly placed" if filled else "waiting"


def _name(fleet: FleetState, node_id: str) -> str:
    node = fleet.facts.nodes.get(node_id)
    return node.name if node is not None else node_id


def _shares(planner: Planner) -> list[float]:
    """Return how much of all nodes' room is booked, in percent, by dimension."""
    booked = planner.arrays.booked[:, : planner.arrays.size].sum(axis=1)
    totals = planner.arrays.totals
    return [
        _PERCENT * float(taken) / total if total else 0.0
        for taken, total in zip(booked, totals, strict=True)
    ]


def _used(planner: Planner) -> int:
    """Return how many nodes have something booked."""
    return int((planner.arrays.booked[:, : planner.arrays.size] > 0).any(axis=0).sum())


def _points(planner: Planner, policy: Policy) -> float:
    """Return what replicas are worth where they are, in the mean, by a policy."""
    fleet = planner.fleet
    kept, fleet.facts.policy = fleet.facts.policy, policy
    try:
        stand = Stand(fleet, planner.arrays)
        pieces = sum(map(len, stand.pieces))
        return round(stand.worth() / pieces, 3) if pieces else 0.0
    finally:
        fleet.facts.policy = kept
