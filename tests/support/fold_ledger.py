"""A ledger that answers from a gateway's own fold."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fogbank.domain.cluster_status import ClusterStatus, cluster_use
from fogbank.domain.comparison import ComparedPart
from fogbank.domain.errors import FailedPreconditionError, NotFoundError, UnavailableError
from fogbank.domain.log_evidence import CommitProof, LogScrub, SignedLog, VerifiedPart
from fogbank.domain.policy import Policy
from fogbank.domain.rederived import RederivedPart, Span
from fogbank.domain.views import AsOf, DeploymentView, Moment, NodeReplica, NodeView, Page
from services.gateway.app.fold import FleetFold
from services.gateway.app.ports import (
    DeploymentQuery,
    DeploymentSort,
    LedgerStatus,
    Recorded,
)
from services.gateway.app.views import deployment_view, node_view
from services.gateway.core.touching import Kind


class FoldLedger:
    """Answers what a ledger would, from a gateway's fold; `up = False` stops it.

    It knows the present only, and notes about which `moments` it was asked. Its tables also have
    what is in `forgotten`.
    """

    def __init__(self, fold: FleetFold) -> None:
        self._fold = fold
        self.moments: list[Moment | None] = []
        self.forgotten: dict[str, DeploymentView] = {}
        self.up = True

    def _answer(self, value: Any) -> AsOf[Any]:
        if not self.up:
            raise UnavailableError("The ledger does not answer", retry_after_ms=1500)
        return AsOf(value, self._fold.position)

    async def deployment(
        self,
        deployment_id: str,
        owner_id: str = "",
        min_sequence: int = 0,
        moment: Moment | None = None,
    ) -> AsOf[DeploymentView]:
        self.moments.append(moment)
        fact = self._fold.fleet.facts.deployments.get(deployment_id)
        if fact is not None:
            return self._answer(deployment_view(self._fold, fact))
        view = self.forgotten.get(deployment_id)
        if view is None or owner_id not in {"", view.owner_id}:
            raise NotFoundError("Deployment not found", reason="DEPLOYMENT_NOT_FOUND")
        return self._answer(view)

    async def deployments(
        self, query: DeploymentQuery, owner_id: str = ""
    ) -> AsOf[Page[DeploymentView]]:
        self.moments.append(query.moment)
        found = [
            view
            for fact in self._fold.fleet.facts.deployments.values()
            for view in [deployment_view(self._fold, fact)]
            if (not owner_id or view.owner_id == owner_id)
            and query.name_contains in view.spec.name
            and query.cluster_id in {0, view.spec.cluster_id}
            and (view.status in query.statuses if query.statuses else not view.deleted_at_us)
            and view.created_at_us >= query.created_after_us
            and (not query.created_before_us or view.created_at_us <= query.created_before_us)
        ]
        keys = {
            DeploymentSort.CREATED_AT: lambda view: (view.created_at_us, view.id),
            DeploymentSort.NAME: lambda view: (view.spec.name, view.id),
            DeploymentSort.STATUS: lambda view: (view.status.name, view.id),
        }
        found.sort(key=keys[query.sort_by], reverse=not query.ascending)
        page = found[query.offset : query.offset + query.limit]
        return self._answer(Page(tuple(page), len(found)))

    async def node(
        self, node: str, min_sequence: int = 0, moment: Moment | None = None
    ) -> AsOf[NodeView]:
        self.moments.append(moment)
        for fact in self._fold.fleet.facts.nodes.values():
            if node == fact.id or (node == fact.name and not fact.removed):
                return self._answer(node_view(self._fold, fact))
        raise NotFoundError.of("node", node)

    async def nodes(
        self, limit: int, offset: int, min_sequence: int = 0, moment: Moment | None = None
    ) -> AsOf[Page[NodeView]]:
        self.moments.append(moment)
        facts = sorted(self._fold.fleet.facts.nodes.values(), key=lambda fact: fact.name)
        views = [node_view(self._fold, fact) for fact in facts if not fact.removed]
        return self._answer(Page(tuple(views[offset : offset + limit]), len(views)))

    async def node_replicas(
        self, node: str, owner_id: str, moment: Moment
    ) -> AsOf[Page[NodeReplica]]:
        self.moments.append(moment)
        raise NotFoundError(f"no node {node} of {owner_id}")

    async def cluster_status(
        self, cluster_id: int, moment: Moment, min_sequence: int = 0
    ) -> AsOf[ClusterStatus]:
        self.moments.append(moment)
        counts = self._fold.counts.of_cluster(cluster_id)
        return self._answer(ClusterStatus(cluster_use(self._fold.fleet, cluster_id), counts))

    async def rederive(self, first: int, last: int) -> AsyncGenerator[RederivedPart]:
        at_the_end = Span(first or 1, last or self._fold.position)
        yield self._answer(RederivedPart(at_the_end, at_the_end.last)).value

    async def compare(self, policy: Policy, first: int, last: int) -> AsyncGenerator[ComparedPart]:
        at_the_end = Span(first or 1, last or self._fold.position)
        yield self._answer(ComparedPart(at_the_end, at_the_end.last)).value

    async def record(
        self, _kind: Kind, _id: str, _after: int, _upto: int
    ) -> AsyncGenerator[Recorded]:
        nothing: tuple[Recorded, ...] = ()
        for each in nothing:
            yield each
        raise UnavailableError("there is no index here")

    async def verify_log(self, first: int, last: int) -> AsyncGenerator[VerifiedPart]:
        commits = (last or self._fold.position) - (first or 1) + 1
        yield self._answer(VerifiedPart(commits, commits)).value

    async def signed_log(self, *, fresh: bool = False) -> SignedLog:
        raise FailedPreconditionError("There is no signed checkpoint of the log")

    async def scrub(self) -> LogScrub:
        return LogScrub()

    async def prove(self, sequence: int) -> CommitProof:
        raise FailedPreconditionError("There is no signed checkpoint of the log")

    async def status(self) -> LedgerStatus:
        status: LedgerStatus = self._answer(
            LedgerStatus(self._fold.position, self._fold.position, self._fold.position)
        ).value
        return status
