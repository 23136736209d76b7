"""A fleet with a limited cluster, for tests of quotas."""

from __future__ import annotations

from typing import Any

from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.tenancy import Quota, Use
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

PENDING, FAILED, RUNNING = (
    DeploymentStatus.PENDING,
    DeploymentStatus.FAILED,
    DeploymentStatus.RUNNING,
)
LIMITED, FREE = 2, 3


def a_fleet(quota: Quota, common: Quota | None = None, nodes: int = 4) -> LittleFleet:
    """Return a fleet with a limited cluster and one without a quota, of one organization."""
    fleet = LittleFleet()
    fleet.fact(ev.OrganizationCreated("all"))
    fleet.fact(ev.ClusterCreated("default", 1))
    fleet.fact(ev.ClusterCreated("limited", 1, quota))
    fleet.fact(ev.ClusterCreated("free", 1))
    if common is not None:
        fleet.fact(ev.OrganizationQuotaSet(1, common))
    for number in range(nodes):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=8000))
    return fleet


def ask(replicas: int = 1, cpu: int = 1000, **more: Any) -> DeploymentSpec:
    return a_spec(
        "d", replicas, **{"cpu": cpu, "memory": 64, "storage": 1, "cluster_id": LIMITED, **more}
    )


def used(fleet: LittleFleet, cluster_id: int = LIMITED) -> Use:
    return fleet.planner.fleet.used_by_cluster(cluster_id)


def run(fleet: LittleFleet, spec: DeploymentSpec) -> str:
    known = fleet.deploy(spec)
    fleet.settle()
    fleet.obey()
    assert fleet.status(known) is RUNNING
    return known


def reason(fleet: LittleFleet, known: str) -> str:
    return fleet.planner.fleet.decisions.of(known).reason


def wait_out(fleet: LittleFleet) -> None:
    """Let all tries pass."""
    for _ in range(5):
        fleet.settle()
        fleet.log.pass_ms(9_000)
    fleet.settle()
