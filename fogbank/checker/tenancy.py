"""Organizations, members, clusters and quotas: what counts, and what it changes."""

from __future__ import annotations

from fogbank.checker.world import Cluster, Organization, World
from fogbank.v1 import facts_pb2

_OWNER = facts_pb2.MEMBERSHIP_ROLE_OWNER


class Tenancy:
    """Takes in what is said of organizations and clusters; says of each whether it counts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def organization(
        self, _place: object, _envelope: object, event: facts_pb2.OrganizationCreated
    ) -> bool:
        """Number an organization."""
        made = Organization()
        if event.owner_id:
            made.members[event.owner_id] = _OWNER
        self._world.organizations.append(made)
        return True

    def cluster(self, _place: object, _envelope: object, event: facts_pb2.ClusterCreated) -> bool:
        """Number a cluster."""
        if self._organization(event.organization_id) is None:
            return False
        self._world.clusters.append(Cluster(event.organization_id, event.quota))
        return True

    def cluster_quota(
        self, _place: object, _envelope: object, event: facts_pb2.ClusterQuotaSet
    ) -> bool:
        """Limit a cluster anew."""
        if not 1 <= event.cluster_id <= len(self._world.clusters):
            return False
        self._world.clusters[event.cluster_id - 1].quota = event.quota
        return True

    def organization_quota(
        self, _place: object, _envelope: object, event: facts_pb2.OrganizationQuotaSet
    ) -> bool:
        """Limit an organization anew."""
        organization = self._organization(event.organization_id)
        if organization is None:
            return False
        organization.quota = event.quota
        return True

    def membership(self, _place: object, _envelope: object, event: facts_pb2.MembershipSet) -> bool:
        """Change who belongs to an organization: the last owner stays one."""
        organization = self._organization(event.organization_id)
        if organization is None:
            return False
        had_owner = _OWNER in organization.members.values()
        after = {**organization.members, event.user_id: event.role}
        if had_owner and _OWNER not in after.values():
            return False
        organization.members = {user: role for user, role in after.items() if role}
        return True

    def _organization(self, number: int) -> Organization | None:
        known = 1 <= number <= len(self._world.organizations)
        return self._world.organizations[number - 1] if known else None
