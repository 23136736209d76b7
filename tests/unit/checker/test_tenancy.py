"""The checker's own reading of organizations, members, clusters and quotas."""

from __future__ import annotations

import pytest

from fogbank.v1 import facts_pb2, resources_pb2
from tests.unit.checker.building import Bytes, an_id

ANN, BOB = an_id("ann"), an_id("bob")
OWNER = facts_pb2.MEMBERSHIP_ROLE_OWNER
VIEWER = facts_pb2.MEMBERSHIP_ROLE_VIEWER


@pytest.fixture
def log() -> Bytes:
    log = Bytes()
    log.fact(facts_pb2.OrganizationCreated(name="ours", owner_id=ANN))
    log.fact(facts_pb2.ClusterCreated(name="edge", organization_id=1))
    return log


def void_after(log: Bytes) -> int:
    report = log.check()
    assert report.clean
    return report.counts.events_void


def test_quotas_of_what_is_there_count(log: Bytes) -> None:
    quota = resources_pb2.Quota(cpu_millicores=0)
    log.fact(facts_pb2.ClusterQuotaSet(cluster_id=1, quota=quota))
    log.fact(facts_pb2.OrganizationQuotaSet(organization_id=1, quota=quota))
    log.fact(facts_pb2.ClusterQuotaSet(cluster_id=1))
    assert void_after(log) == 0


def test_quotas_and_members_of_what_is_not_there_do_not(log: Bytes) -> None:
    log.fact(facts_pb2.ClusterQuotaSet(cluster_id=2))
    log.fact(facts_pb2.OrganizationQuotaSet(organization_id=0))
    log.fact(facts_pb2.MembershipSet(organization_id=2, user_id=BOB, role=VIEWER))
    assert void_after(log) == 3


def test_the_last_owner_stays(log: Bytes) -> None:
    log.fact(facts_pb2.MembershipSet(organization_id=1, user_id=ANN, role=VIEWER))
    log.fact(facts_pb2.MembershipSet(organization_id=1, user_id=ANN))
    assert void_after(log) == 2
    log.fact(facts_pb2.MembershipSet(organization_id=1, user_id=BOB, role=OWNER))
    log.fact(facts_pb2.MembershipSet(organization_id=1, user_id=ANN))
    assert void_after(log) == 2
    log.fact(facts_pb2.MembershipSet(organization_id=1, user_id=BOB))
    assert void_after(log) == 3


def test_quotas_and_members_keep_within_bounds(log: Bytes) -> None:
    wrong = resources_pb2.Quota(replicas=-1)
    log.fact(facts_pb2.ClusterCreated(name="more", organization_id=1, quota=wrong))
    log.fact(facts_pb2.ClusterQuotaSet(cluster_id=1, quota=wrong))
    log.fact(facts_pb2.OrganizationQuotaSet(organization_id=1, quota=wrong))
    log.fact(facts_pb2.MembershipSet(organization_id=1, user_id="bob", role=VIEWER))
    assert log.rules() == ["out-of-bounds"] * 4
