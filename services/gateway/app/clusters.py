"""Clusters: making and listing them, their quotas, and how much of one is used."""

from __future__ import annotations

from dataclasses import replace

import structlog

from fogbank.domain import events as ev
from fogbank.domain.cluster_status import ClusterStatus, cluster_use, no_cluster_then
from fogbank.domain.position import sequence_of
from fogbank.domain.tenancy import ClusterFact, MembershipRole, Quota, made_at
from fogbank.domain.views import AsOf, DeploymentView, Moment, Page
from fogbank.runtime.clock import Clock
from services.gateway.app.command_log import CommandLog
from services.gateway.app.fold import FleetFold
from services.gateway.app.ports import DeploymentQuery, LedgerQueries
from services.gateway.app.principal import Principal
from services.gateway.app.rights import Rights
from services.gateway.app.tenancy_commands import TenancyCommands
from services.gateway.core import tenancy as core

_log = structlog.get_logger(__name__)


class Clusters:
    """The use cases of clusters, for all faces.

    Commands are answered as those of `Organizations` are. For strangers to its organization a
    cluster isn't there: NotFoundError; members without the role get PermissionDeniedError.
    """

    def __init__(
        self, fold: FleetFold, command_log: CommandLog, ledger: LedgerQueries, clock: Clock
    ) -> None:
        self._fold = fold
        self._commands = command_log
        self._ledger = ledger
        self._rights = Rights(fold, command_log)
        self._tenancy = TenancyCommands(command_log, clock)

    async def create(
        self,
        principal: Principal,
        organization_id: int,
        name: str,
        quota: Quota,
        *,
        words: core.QuotaWords,
        request_id: str = "",
    ) -> ClusterFact:
        """Make a cluster; owners and operators of its organization only.

        `words` are the face's, for what is said of a wrong limit.

        Raises:
            InvalidArgumentError: the name, the quota or the request id is no good.
            AlreadyExistsError: the request id was used with another content.
            UnavailableError: the log is down.
        """
        core.check_name(name)
        core.check_quota(quota, words)

        async def made() -> ev.ClusterCreated:
            await self._rights.organization(principal, organization_id, MembershipRole.OPERATOR)
            return ev.ClusterCreated(name, organization_id, quota)

        content = {
            "organization_id": organization_id,
            "name": name,
            "quota": core.quota_content(quota),
        }
        position = await self._tenancy.submit(
            principal, core.CREATE_CLUSTER, request_id, content, made
        )
        cluster = made_at(self._fold.fleet.facts.clusters, position)
        _log.info("cluster made", cluster=cluster.id, organization=organization_id, name=name)
        return cluster

    async def set_quota(
        self,
        principal: Principal,
        cluster_id: int,
        quota: Quota,
        *,
        words: core.QuotaWords,
        request_id: str = "",
    ) -> ClusterFact:
        """Give a cluster another quota, owners only; what is booked already stays.

        Raises: as `create`.
        """
        core.check_quota(quota, words)

        async def changed() -> ev.ClusterQuotaSet:
            await self._rights.cluster(principal, cluster_id, MembershipRole.OWNER)
            return ev.ClusterQuotaSet(cluster_id, quota)

        content = {"cluster_id": cluster_id, "quota": core.quota_content(quota)}
        await self._tenancy.submit(principal, core.SET_CLUSTER_QUOTA, request_id, content, changed)
        return self._fold.fleet.facts.clusters[cluster_id]

    async def get(
        self,
        principal: Principal,
        cluster_id: int,
        least: MembershipRole = MembershipRole.VIEWER,
    ) -> ClusterFact:
        """Show a cluster, to members with a role of `least` or more."""
        return await self._rights.cluster(principal, cluster_id, least)

    def quota(self, cluster_id: int) -> Quota:
        """Return the quota of a cluster that there is."""
        return self._fold.fleet.facts.clusters[cluster_id].quota

    async def list(self, principal: Principal, limit: int, offset: int = 0) -> Page[ClusterFact]:
        """List the clusters of the caller's organizations, to administrators all, by number."""
        facts = self._fold.fleet.facts
        seen = [
            cluster
            for cluster in facts.clusters.values()
            if self._rights.role(principal, facts.organizations[cluster.organization_id])
        ]
        return Page(tuple(seen[offset : offset + limit]), len(seen))

    async def status(
        self, principal: Principal, cluster_id: int, moment: Moment | None = None
    ) -> AsOf[ClusterStatus]:
        """Show how much of a cluster is used, to members, as this gateway's fold has it.

        With a `moment` as it was then, to those who are members now.

        Raises:
            NotFoundError: no such cluster, or none at that moment.
            InvalidArgumentError: the log has no such moment.
            UnavailableError: the log is down, isn't read in time, or the ledger does not answer.
        """
        cluster = await self._rights.cluster(principal, cluster_id, MembershipRole.VIEWER)
        last_write = self._commands.last_write(principal.user_id)
        if moment is not None:
            return await self._ledger.cluster_status(cluster_id, moment, last_write)
        await self._commands.wait_for(last_write)
        counts = self._fold.counts.of_cluster(cluster.id)
        status = ClusterStatus(cluster_use(self._fold.fleet, cluster.id), counts)
        return AsOf(status, self._fold.position)

    async def deployments(
        self, principal: Principal, cluster_id: int, query: DeploymentQuery
    ) -> AsOf[Page[DeploymentView]]:
        """List the deployments of a cluster to members, whoever owns them.

        Of a cluster that belongs to everybody each sees their own, its owners and administrators
        all: who deploys there need not know the others.

        Raises:
            NotFoundError: no such cluster, or none at the moment that the query names.
            InvalidArgumentError: the log has no such moment.
            UnavailableError: the ledger does not answer in time.
        """
        cluster = await self._rights.cluster(principal, cluster_id, MembershipRole.VIEWER)
        wanted = max(query.min_sequence, self._commands.last_write(principal.user_id))
        query = replace(query, cluster_id=cluster_id, min_sequence=wanted)
        sees_others = self._rights.sees_others(principal, cluster)
        found = await self._ledger.deployments(query, "" if sees_others else principal.user_id)
        created = sequence_of(cluster.created_position)
        if query.moment is not None and created > found.as_of_sequence:
            raise no_cluster_then(cluster_id, found.as_of_sequence, created)
        return found
