"""The state at a past moment, for those who audit: as lists and single answers showed it then."""

from __future__ import annotations

from dataclasses import dataclass

from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.views import DeploymentView, Moment, NodeView
from services.gateway.app.clusters import Clusters
from services.gateway.app.deployments import Deployments
from services.gateway.app.nodes import Nodes
from services.gateway.app.ports import DeploymentQuery
from services.gateway.app.principal import Principal
from services.gateway.core.whole_numbers import whole_number

_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class StateThen:
    """Deployments and nodes as they were right after a commit."""

    sequence: int
    deployments: tuple[DeploymentView, ...] = ()
    nodes: tuple[NodeView, ...] = ()


class Past:
    """Shows past states to whoever may see the present one."""

    def __init__(self, deployments: Deployments, nodes: Nodes, clusters: Clusters) -> None:
        self._deployments = deployments
        self._nodes = nodes
        self._clusters = clusters

    async def state_at(self, principal: Principal, moment: Moment, aggregate: str) -> StateThen:
        """Show a `deployment/<id>`, a `node/<id or name>`, a `cluster/<number>`, or all (empty).

        Administrators see everybody's deployments, others their own and, of a cluster of theirs,
        all; everybody sees nodes. Of a cluster the deployments are shown that were in it.

        Raises:
            NotFoundError: no such thing then, or not the caller's.
            InvalidArgumentError: the log has no such moment, or it is no aggregate.
            UnavailableError: the ledger does not answer in time.
        """
        kind, _, name = aggregate.partition("/")
        match kind:
            case "" if not aggregate:
                return await self._all(principal, moment)
            case "deployment" if name:
                found = await self._deployments.get(principal, name, moment=moment)
                return StateThen(found.as_of_sequence, deployments=(found.value,))
            case "node" if name:
                node = await self._nodes.get(name, moment=moment)
                return StateThen(node.as_of_sequence, nodes=(node.value,))
            case "cluster" if (cluster_id := whole_number(name)) is not None:
                return await self._cluster(principal, cluster_id, moment)
        raise InvalidArgumentError.of_field(
            "aggregate",
            "must be deployment/<id>, node/<id or name>, cluster/<number> or empty, "
            f"was {aggregate[:100]!r}",
        )

    async def _cluster(self, principal: Principal, cluster_id: int, moment: Moment) -> StateThen:
        deployments: list[DeploymentView] = []
        while True:
            query = DeploymentQuery(limit=_AT_ONCE, offset=len(deployments), moment=moment)
            found = await self._clusters.deployments(principal, cluster_id, query)
            # A time stays the same commit for what follows.
            moment = Moment(found.as_of_sequence)
            deployments += found.value.items
            if len(deployments) >= found.value.total:
                return StateThen(moment.sequence, tuple(deployments))

    async def _all(self, principal: Principal, moment: Moment) -> StateThen:
        nodes: list[NodeView] = []
        while True:
            some = await self._nodes.list(_AT_ONCE, len(nodes), moment=moment)
            # A time stays the same commit for what follows.
            moment = Moment(some.as_of_sequence)
            nodes += some.value.items
            if len(nodes) >= some.value.total:
                break
        deployments: list[DeploymentView] = []
        while True:
            query = DeploymentQuery(
                all_owners=principal.sees_all,
                limit=_AT_ONCE,
                offset=len(deployments),
                moment=moment,
            )
            found = await self._deployments.list(principal, query)
            deployments += found.value.items
            if len(deployments) >= found.value.total:
                return StateThen(moment.sequence, tuple(deployments), tuple(nodes))
