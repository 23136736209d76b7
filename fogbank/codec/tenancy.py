"""Organizations, members, clusters and quotas, to messages and back."""

from __future__ import annotations

from dataclasses import fields

from fogbank.domain import events as ev
from fogbank.domain.tenancy import UNLIMITED, MembershipRole, Quota
from fogbank.v1 import facts_pb2 as pb
from fogbank.v1 import resources_pb2


def quota_to_pb(quota: Quota) -> resources_pb2.Quota | None:
    """Return a quota's message; none for an unlimited one."""
    if quota == UNLIMITED:
        return None
    limits = {known.name: getattr(quota, known.name) for known in fields(quota)}
    return resources_pb2.Quota(**limits)


def quota_from_pb(message: resources_pb2.Quota) -> Quota:
    """Return the quota that a message holds; the default message is unlimited."""
    return Quota(**{known.name: limit for known, limit in message.ListFields()})


def organization_created_to_pb(event: ev.OrganizationCreated) -> pb.OrganizationCreated:
    """Return the event's message."""
    return pb.OrganizationCreated(name=event.name, owner_id=event.owner_id)


def organization_created_from_pb(message: pb.OrganizationCreated) -> ev.OrganizationCreated:
    """Return the message's event."""
    return ev.OrganizationCreated(message.name, message.owner_id)


def cluster_created_to_pb(event: ev.ClusterCreated) -> pb.ClusterCreated:
    """Return the event's message."""
    return pb.ClusterCreated(
        name=event.name,
        organization_id=event.organization_id,
        quota=quota_to_pb(event.quota),
    )


def cluster_created_from_pb(message: pb.ClusterCreated) -> ev.ClusterCreated:
    """Return the message's event."""
    return ev.ClusterCreated(message.name, message.organization_id, quota_from_pb(message.quota))


def cluster_quota_set_to_pb(event: ev.ClusterQuotaSet) -> pb.ClusterQuotaSet:
    """Return the event's message."""
    return pb.ClusterQuotaSet(cluster_id=event.cluster_id, quota=quota_to_pb(event.quota))


def cluster_quota_set_from_pb(message: pb.ClusterQuotaSet) -> ev.ClusterQuotaSet:
    """Return the message's event."""
    return ev.ClusterQuotaSet(message.cluster_id, quota_from_pb(message.quota))


def organization_quota_set_to_pb(event: ev.OrganizationQuotaSet) -> pb.OrganizationQuotaSet:
    """Return the event's message."""
    return pb.OrganizationQuotaSet(
        organization_id=event.organization_id, quota=quota_to_pb(event.quota)
    )


def organization_quota_set_from_pb(message: pb.OrganizationQuotaSet) -> ev.OrganizationQuotaSet:
    """Return the message's event."""
    return ev.OrganizationQuotaSet(message.organization_id, quota_from_pb(message.quota))


def membership_set_to_pb(event: ev.MembershipSet) -> pb.MembershipSet:
    """Return the event's message."""
    return pb.MembershipSet(
        organization_id=event.organization_id,
        user_id=event.user_id,
        role=pb.MembershipRole.ValueType(event.role or 0),
    )


def membership_set_from_pb(message: pb.MembershipSet) -> ev.MembershipSet:
    """Return the message's event. ValueError for a role that is none."""
    role = MembershipRole(message.role) if message.role else None
    return ev.MembershipSet(message.organization_id, message.user_id, role)
