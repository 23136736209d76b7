"""Organizations, members, clusters and quotas: what counts, and what it leaves behind."""

from __future__ import annotations

from dataclasses import fields

import pytest

from fogbank.codec import decode_commit
from fogbank.domain import events as ev
from fogbank.domain.facts import Facts
from fogbank.domain.fleet import FleetState
from fogbank.domain.policy_bounds import MAX_AMOUNT
from fogbank.domain.position import pack
from fogbank.domain.tenancy import UNLIMITED, MembershipRole, Quota, made_at
from fogbank.domain.verdict import VoidReason
from tests.support.fleet_log import LittleLog, an_id

ANN, BOB = an_id("ann"), an_id("bob")
SOME = Quota(cpu_millicores=4000, replicas=0)


class Fold:
    """A log with two organizations, the first one everybody's, and the state that follows."""

    def __init__(self) -> None:
        self.log = LittleLog()
        self.fleet = FleetState()
        self.reason(ev.OrganizationCreated("everybody"))
        self.reason(ev.OrganizationCreated("ours", ANN))
        self.reason(ev.ClusterCreated("default", 1))
        self.reason(ev.ClusterCreated("edge", 2, SOME))

    def reason(self, event: ev.Event) -> VoidReason | None:
        commit = self.log.fact(event)
        again = decode_commit(commit.sequence, commit.service, commit.instance, self.log.data[-1])
        assert again == commit
        return self.fleet.fold(again).verdicts[0].reason

    @property
    def facts(self) -> Facts:
        return self.fleet.facts


@pytest.fixture
def fold() -> Fold:
    return Fold()


def test_what_is_absent_of_a_quota_is_unlimited_and_zero_is_none_at_all(fold: Fold) -> None:
    assert fold.facts.clusters[1].quota == UNLIMITED
    assert fold.facts.clusters[2].quota == SOME
    assert fold.facts.clusters[2].quota.memory_mib is None


def test_quotas_are_set_anew_and_taken_away(fold: Fold) -> None:
    assert fold.reason(ev.ClusterQuotaSet(1, SOME)) is None
    assert fold.reason(ev.ClusterQuotaSet(2)) is None
    assert [cluster.quota for cluster in fold.facts.clusters.values()] == [SOME, UNLIMITED]
    assert fold.reason(ev.OrganizationQuotaSet(2, SOME)) is None
    assert [each.quota for each in fold.facts.organizations.values()] == [UNLIMITED, SOME]


def test_what_is_not_there_has_neither_quota_nor_members(fold: Fold) -> None:
    assert fold.reason(ev.ClusterQuotaSet(3, SOME)) is VoidReason.UNKNOWN_CLUSTER
    assert fold.reason(ev.OrganizationQuotaSet(3, SOME)) is VoidReason.UNKNOWN_ORGANIZATION
    member = ev.MembershipSet(0, ANN, MembershipRole.OWNER)
    assert fold.reason(member) is VoidReason.UNKNOWN_ORGANIZATION
    assert fold.reason(ev.ClusterCreated("lost", 3)) is VoidReason.UNKNOWN_ORGANIZATION


@pytest.mark.parametrize("amount", [-1, MAX_AMOUNT + 1])
@pytest.mark.parametrize("name", [known.name for known in fields(Quota)])
def test_a_quota_keeps_within_bounds(fold: Fold, name: str, amount: int) -> None:
    quota = Quota(**{name: amount})
    for event in (
        ev.ClusterCreated("large", 1, quota),
        ev.ClusterQuotaSet(1, quota),
        ev.OrganizationQuotaSet(1, quota),
    ):
        assert fold.reason(event) is VoidReason.MALFORMED


def test_a_member_is_named_by_its_users_id(fold: Fold) -> None:
    assert fold.reason(ev.MembershipSet(2, "bob", MembershipRole.VIEWER)) is VoidReason.MALFORMED


def test_who_makes_an_organization_is_its_first_owner(fold: Fold) -> None:
    assert fold.facts.organizations[1].members == {}
    assert fold.facts.organizations[2].members == {ANN: MembershipRole.OWNER}


def test_members_get_a_role_another_one_and_none(fold: Fold) -> None:
    members = fold.facts.organizations[2].members
    for role in (MembershipRole.VIEWER, MembershipRole.OPERATOR):
        assert fold.reason(ev.MembershipSet(2, BOB, role)) is None
        assert members == {ANN: MembershipRole.OWNER, BOB: role}
    assert fold.reason(ev.MembershipSet(2, BOB)) is None
    assert members == {ANN: MembershipRole.OWNER}
    assert fold.reason(ev.MembershipSet(2, BOB)) is None, "nobody is no member twice"


def test_an_organization_that_has_an_owner_keeps_one(fold: Fold) -> None:
    assert fold.reason(ev.MembershipSet(2, ANN)) is VoidReason.LAST_OWNER
    assert fold.reason(ev.MembershipSet(2, ANN, MembershipRole.VIEWER)) is VoidReason.LAST_OWNER
    assert fold.reason(ev.MembershipSet(2, ANN, MembershipRole.OWNER)) is None
    assert fold.reason(ev.MembershipSet(2, BOB, MembershipRole.OWNER)) is None
    assert fold.reason(ev.MembershipSet(2, ANN)) is None
    assert fold.facts.organizations[2].members == {BOB: MembershipRole.OWNER}


def test_everybodys_organization_may_have_members_and_no_owner(fold: Fold) -> None:
    assert fold.reason(ev.MembershipSet(1, BOB, MembershipRole.VIEWER)) is None
    assert fold.reason(ev.MembershipSet(1, BOB)) is None


def test_what_a_command_made_is_found_by_its_position() -> None:
    fold = Fold()
    facts = fold.fleet.facts
    for made in facts.organizations.values():
        assert made_at(facts.organizations, made.created_position) is made
    for cluster in facts.clusters.values():
        assert made_at(facts.clusters, cluster.created_position) is cluster
    for position in (0, pack(3, 0), pack(99, 0)):
        with pytest.raises(KeyError):
            made_at(facts.organizations, position)
