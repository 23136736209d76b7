"""Who may do what in organizations and their clusters: the one place that says so."""

from __future__ import annotations

from collections.abc import Collection

from fogbank.domain.errors import FogError
from fogbank.domain.tenancy import ClusterFact, MembershipRole, OrganizationFact
from services.gateway.app.command_log import CommandLog
from services.gateway.app.fold import FleetFold
from services.gateway.app.principal import Principal
from services.gateway.core import commands
from services.gateway.core.service_accounts import role_by
from services.gateway.core.tenancy import check_role, role_of

_OPERATOR = MembershipRole.OPERATOR
_VIEWER = MembershipRole.VIEWER


def own_role(principal: Principal, organization: OrganizationFact) -> MembershipRole | None:
    """Return what a caller is in an organization, whatever administrators may; None for a stranger.

    A service account is what its token is for, in its own organization, and nothing elsewhere.
    """
    service = principal.service
    if service is None:
        return role_of(organization, principal.user_id)
    if service.organization != (organization.id, organization.owner_id):
        return None
    return role_by(service.scopes)


class Rights:
    """Judges by this gateway's fold; before a refusal it catches up with the log.

    For strangers what isn't theirs isn't there: NotFoundError. Members whose role is too small get
    PermissionDeniedError. Administrators have every right.
    """

    def __init__(self, fold: FleetFold, command_log: CommandLog) -> None:
        self._fold = fold
        self._commands = command_log

    def role(self, principal: Principal, organization: OrganizationFact) -> MembershipRole | None:
        """Return what a caller may do in an organization; None for a stranger."""
        if principal.is_admin:
            return MembershipRole.OWNER
        return own_role(principal, organization)

    def sees_others(self, principal: Principal, cluster: ClusterFact) -> bool:
        """Tell whether a member sees what the other members of a cluster's organization deploy.

        Not where everybody is one: nobody let the others in there.
        """
        organization = self._fold.fleet.facts.organizations[cluster.organization_id]
        return bool(organization.owner_id) or (
            principal.sees_all or self.role(principal, organization) is MembershipRole.OWNER
        )

    async def organization(
        self, principal: Principal, organization_id: int, least: MembershipRole = _VIEWER
    ) -> OrganizationFact:
        """Return an organization in which the caller has a role, `least` or more.

        Raises:
            NotFoundError, PermissionDeniedError: as above.
            UnavailableError: the log is down.
        """
        try:
            return self._organization(principal, organization_id, least)
        except FogError:
            await self._commands.catch_up()
        return self._organization(principal, organization_id, least)

    async def cluster(
        self, principal: Principal, cluster_id: int, least: MembershipRole = _OPERATOR
    ) -> ClusterFact:
        """Return a cluster in whose organization the caller has a role, `least` or more.

        Raises: as `organization`.
        """
        try:
            return self.check_cluster(principal, cluster_id, least)
        except FogError:
            await self._commands.catch_up()
        return self.check_cluster(principal, cluster_id, least)

    async def look_again(self, principal: Principal, cluster_ids: Collection[int]) -> None:
        """Catch up with the log if one of these clusters would be refused for deploying now."""
        try:
            for cluster_id in cluster_ids:
                self.check_cluster(principal, cluster_id)
        except FogError:
            await self._commands.catch_up()

    def check_cluster(
        self, principal: Principal, cluster_id: int, least: MembershipRole = _OPERATOR
    ) -> ClusterFact:
        """Return a cluster, as `cluster` does, but by what is folded already."""
        facts = self._fold.fleet.facts
        cluster = facts.clusters.get(cluster_id)
        if cluster is None:
            raise commands.cluster_not_found(cluster_id)
        role = self.role(principal, facts.organizations[cluster.organization_id])
        check_role(role, least, commands.cluster_not_found(cluster_id))
        return cluster

    def _organization(
        self, principal: Principal, organization_id: int, least: MembershipRole
    ) -> OrganizationFact:
        organization = self._fold.fleet.facts.organizations.get(organization_id)
        if organization is None:
            raise commands.organization_not_found(organization_id)
        missing = commands.organization_not_found(organization_id)
        check_role(self.role(principal, organization), least, missing)
        return organization
