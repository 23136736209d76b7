"""Rounds keep to the quotas of clusters and organizations."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fogbank.v1 import deployments_pb2, facts_pb2, resources_pb2, rounds_pb2
from tests.unit.checker.building import (
    FAILED,
    NOW_US,
    RUNNING,
    Bytes,
    a_replica,
    deferring,
    failing,
    on,
    releasing,
    restoring,
    room,
    seen,
    suspending,
)

IN = {"cluster_id": 1}


def a_log(**limits: int) -> Bytes:
    """Return a log with a limited cluster, a free one of the same organization, two nodes."""
    log = Bytes()
    log.fact(facts_pb2.OrganizationCreated(name="all"))
    quota = resources_pb2.Quota(**limits)
    log.fact(facts_pb2.ClusterCreated(name="limited", organization_id=1, quota=quota))
    log.fact(facts_pb2.ClusterCreated(name="free", organization_id=1))
    log.node("first", cpu=8000)
    log.node("second", cpu=8000)
    return log


def nodes(log: Bytes) -> list[str]:
    return [*log.epochs]


def fill(log: Bytes, names: Sequence[str], cluster_id: int = 1) -> list[str]:
    """Place a replica of each deployment."""
    known = [log.deploy(name, cluster_id=cluster_id) for name in names]
    for deployment_id in known:
        log.place(deployment_id, nodes(log)[0])
    return known


@pytest.mark.parametrize(
    "limits", [{"cpu_millicores": 1999}, {"memory_mib": 1000}, {"storage_gib": 19}, {"replicas": 1}]
)
def test_a_round_places_no_more_than_the_quota(limits: dict[str, int]) -> None:
    log = a_log(**limits)
    fill(log, ["a"])
    assert log.rules() == []
    fill(log, ["b"])
    assert log.rules() == ["quota"]


def test_what_one_round_places_counts_together() -> None:
    log = a_log(replicas=1)
    one, two = (log.deploy(name, **IN) for name in ("one", "two"))
    first = nodes(log)[0]
    log.round(log.placing(one, on(one, first)), log.placing(two, on(two, first)))
    assert log.rules() == ["quota"]


def test_clusters_share_the_quota_of_their_organization() -> None:
    log = a_log()
    log.fact(
        facts_pb2.OrganizationQuotaSet(organization_id=1, quota=resources_pb2.Quota(replicas=1))
    )
    fill(log, ["a"])
    fill(log, ["b"], cluster_id=2)
    assert log.rules() == ["quota"]


def test_what_a_round_releases_is_free_only_from_the_next_one_on() -> None:
    log = a_log(replicas=1)
    (gone,) = fill(log, ["a"])
    log.delete(gone)
    new = log.deploy("new", **IN)
    placing = log.placing(new, on(new, nodes(log)[1]))
    late = Bytes(**{name: getattr(log, name) for name in Bytes.__slots__})
    late.commits = [*log.commits]
    log.round(releasing(gone, a_replica(gone)), placing)
    assert log.rules() == ["quota"]
    late.round(releasing(gone, a_replica(gone)))
    late.round(placing)
    assert late.rules() == []


def test_a_quota_below_what_is_used_lets_nothing_new_in() -> None:
    log = a_log(replicas=3)
    fill(log, ["a", "b"])
    lower = facts_pb2.ClusterQuotaSet(cluster_id=1, quota=resources_pb2.Quota(replicas=1))
    log.fact(lower)
    log.round(deferring(log.deploy("c", **IN), log.last << 16, 1, NOW_US + 1_000_000))
    assert log.rules() == []
    fill(log, ["d"])
    assert log.rules() == ["quota"]


def test_lost_and_ended_replicas_do_not_count_and_restored_ones_do() -> None:
    log = a_log(replicas=2)
    first, second = nodes(log)
    kept = log.deploy("kept", **IN)
    log.place(kept, second)
    log.report(second, seen(a_replica(kept), FAILED, final=True))
    (lost,) = fill(log, ["lost"])
    log.lose(first)
    log.round(suspending(lost, first, a_replica(lost)))
    log.place(log.deploy("x", **IN), second)
    log.place(log.deploy("y", **IN), second)
    assert log.rules() == []
    log.node("first", cpu=8000)
    log.round(restoring(lost, a_replica(lost)))
    assert log.rules() == ["quota"], "two have taken it meanwhile"


@pytest.mark.parametrize("frees", [False, True])
def test_who_is_taken_back_may_have_the_quota_of_who_stops_for_it(frees: bool) -> None:
    log = a_log(replicas=1)
    first, second = nodes(log)
    (lost,) = fill(log, ["lost"])
    log.lose(first)
    log.round(suspending(lost, first, a_replica(lost)))
    taker = lost if frees else log.deploy("taker", **IN)
    generation = 2 if frees else 1
    log.round(log.placing(taker, on(taker, second, generation=generation)))
    log.node("first", cpu=8000)
    gone = releasing(taker, a_replica(taker, generation=generation))
    log.round(gone, restoring(lost, a_replica(lost)))
    assert log.rules() == ([] if frees else ["quota"])


def successor(log: Bytes, known: str, revision: int) -> rounds_pb2.Outcome:
    placement = on(known, nodes(log)[1], generation=2)
    placement.replaces = a_replica(known)
    return log.placing(known, placement, revision=revision)


def test_who_moves_has_its_quota_and_who_is_updated_needs_some() -> None:
    log = a_log(replicas=1)
    (known,) = fill(log, ["a"])
    log.report(nodes(log)[0], seen(a_replica(known), RUNNING))
    moved = Bytes(**{name: getattr(log, name) for name in Bytes.__slots__})
    moved.commits = [*log.commits]
    moved.round(successor(moved, known, 1))
    assert moved.rules() == []
    spec = deployments_pb2.DeploymentSpec(
        name="a", replicas=1, resources=room(), container_image="new", cluster_id=1
    )
    event = facts_pb2.DeploymentUpdated(deployment_id=known, spec=spec)
    log.versions[known] = log.fact(event)
    log.round(successor(log, known, 2))
    assert log.rules() == ["quota"]


def test_above_its_quota_a_deployment_fails_at_once_even_if_it_is_to_wait() -> None:
    log = a_log(replicas=1)
    two = log.deploy("two", 2, wait_for_capacity=True, **IN)
    log.round(failing(two, log.versions[two]))
    assert log.rules() == []
    one = log.deploy("one", wait_for_capacity=True, **IN)
    log.round(failing(one, log.versions[one]))
    assert log.rules() == ["failed"]


def test_an_update_into_a_cluster_that_is_not_there_is_void() -> None:
    log = a_log()
    (known,) = fill(log, ["a"])
    spec = deployments_pb2.DeploymentSpec(name="a", replicas=1, resources=room(), cluster_id=3)
    log.fact(facts_pb2.DeploymentUpdated(deployment_id=known, spec=spec))
    assert log.check().counts.events_void == 1


def test_who_moved_takes_the_quota_of_where_it_is() -> None:
    """The replica placed before stays in its own cluster, the next one needs room in the new."""
    log = a_log(replicas=1)
    (known,) = fill(log, ["a"])
    log.fact(
        facts_pb2.ClusterCreated(
            name="full", organization_id=1, quota=resources_pb2.Quota(replicas=0)
        )
    )
    spec = deployments_pb2.DeploymentSpec(name="a", replicas=1, resources=room(), cluster_id=3)
    log.fact(facts_pb2.DeploymentUpdated(deployment_id=known, spec=spec))
    log.report(nodes(log)[0], seen(a_replica(known), RUNNING))
    assert log.check().counts.events_void == 0
    assert log.rules(settled=True) == [], "there is no quota for it"
    log.fact(facts_pb2.ClusterQuotaSet(cluster_id=3))
    assert log.rules(settled=True) == ["outdated"]


def test_at_rest_who_has_no_quota_may_wait() -> None:
    log = a_log(replicas=0)
    log.round(deferring(log.deploy("a", **IN), log.last << 16, 1, NOW_US + 1_000_000))
    assert log.rules(settled=True) == []
    log.fact(facts_pb2.ClusterQuotaSet(cluster_id=1))
    assert log.rules(settled=True) == ["not-running"]


def test_at_rest_an_old_revision_may_stay_if_the_quota_has_no_room_for_its_successor() -> None:
    log = a_log(replicas=1)
    (known,) = fill(log, ["a"])
    spec = deployments_pb2.DeploymentSpec(
        name="a", replicas=1, resources=room(), container_image="new", cluster_id=1
    )
    log.fact(facts_pb2.DeploymentUpdated(deployment_id=known, spec=spec))
    assert "outdated" not in log.rules(settled=True)
    log.fact(facts_pb2.ClusterQuotaSet(cluster_id=1))
    assert "outdated" in log.rules(settled=True)
