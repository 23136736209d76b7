"""The fold rules of organizations, their members, clusters and quotas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.tenancy import ClusterFact, MembershipRole, OrganizationFact
from fogbank.domain.verdict import VoidReason

if TYPE_CHECKING:
    from fogbank.domain.facts import Facts


def organization_created(
    facts: Facts, _envelope: EventEnvelope, event: ev.OrganizationCreated, position: int
) -> VoidReason | None:
    """Number an organization; who made it is its first member."""
    number = len(facts.organizations) + 1
    organization = OrganizationFact(number, event.name, event.owner_id, created_position=position)
    if event.owner_id:
        organization.members[event.owner_id] = MembershipRole.OWNER
    facts.organizations[number] = organization
    return None


def cluster_created(
    facts: Facts, _envelope: EventEnvelope, event: ev.ClusterCreated, position: int
) -> VoidReason | None:
    """Number a cluster."""
    if event.organization_id not in facts.organizations:
        return VoidReason.UNKNOWN_ORGANIZATION
    number = len(facts.clusters) + 1
    facts.clusters[number] = ClusterFact(
        number, event.name, event.organization_id, event.quota, position
    )
    facts.organizations.change(event.organization_id).clusters.append(number)
    return None


def cluster_quota_set(
    facts: Facts, _envelope: EventEnvelope, event: ev.ClusterQuotaSet, _position: int
) -> VoidReason | None:
    """Give a cluster another quota; what is booked already stays."""
    if event.cluster_id not in facts.clusters:
        return VoidReason.UNKNOWN_CLUSTER
    facts.clusters.change(event.cluster_id).quota = event.quota
    return None


def organization_quota_set(
    facts: Facts, _envelope: EventEnvelope, event: ev.OrganizationQuotaSet, _position: int
) -> VoidReason | None:
    """Give an organization another quota; what is booked already stays."""
    if event.organization_id not in facts.organizations:
        return VoidReason.UNKNOWN_ORGANIZATION
    facts.organizations.change(event.organization_id).quota = event.quota
    return None


def membership_set(
    facts: Facts, _envelope: EventEnvelope, event: ev.MembershipSet, _position: int
) -> VoidReason | None:
    """Give a user another role, or none; an organization that has an owner keeps one."""
    if event.organization_id not in facts.organizations:
        return VoidReason.UNKNOWN_ORGANIZATION
    members = facts.organizations.change(event.organization_id).members
    owners = [known for known, role in members.items() if role is MembershipRole.OWNER]
    if owners == [event.user_id] and event.role is not MembershipRole.OWNER:
        return VoidReason.LAST_OWNER
    if event.role is None:
        members.pop(event.user_id, None)
    else:
        members[event.user_id] = event.role
    return None
