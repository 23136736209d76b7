"""The past of one deployment or node, folded from the events that an index names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from fogbank.domain.errors import NotFoundError
from fogbank.domain.states import NodeStatus
from fogbank.domain.views import DeploymentView, NodeView
from services.ledger.app.records import RecordIndex, Touched
from services.ledger.app.standings import PastDeployment, Standing, Standings
from services.ledger.core.alone import Wanted
from services.ledger.core.touched import ThingKind, is_id, named, numbered


class OwnHolder(Protocol):
    """Folds chosen events and shows them; who holds states does that too, and fails alike."""

    async def begin_alone(self) -> None:
        """Hold chosen events from now on, none at first."""

    async def take_alone(self, touched: Sequence[Touched], log_times_us: Mapping[int, int]) -> None:
        """Take in some events, with the log times at their commits; taken twice they are one."""

    async def find_alone(self, deployment_id: str) -> tuple[PastDeployment | None, Sequence[str]]:
        """Return a deployment, None if there is none, and the nodes it was ever placed on."""

    async def show_alone(self, standing: Standing) -> DeploymentView:
        """Return a deployment whole."""

    async def placed_alone(self, node_id: str) -> Sequence[str]:
        """Return the deployments with a replica on a node that has not ended."""

    async def nodes_alone(self, wanted: Wanted) -> Sequence[NodeView]:
        """Return the nodes that the events tell of."""


class OwnPast:
    """Answers one question after the other; events that were void are taken for nothing."""

    def __init__(self, index: RecordIndex, standings: Standings) -> None:
        self._index = index
        self._standings = standings

    async def deployment(
        self, holder: OwnHolder, deployment_id: str, owner_id: str, upto: int
    ) -> DeploymentView:
        """Return a deployment with its replicas and latest changes, as it was after a commit.

        Raises:
            NotFoundError: there was none of that id, or not of that owner.
        """
        await holder.begin_alone()
        await self._take(holder, ThingKind.DEPLOYMENT, [deployment_id], upto)
        found, node_ids = await holder.find_alone(deployment_id)
        if found is None or (owner_id and found.owner_id != owner_id):
            raise NotFoundError("Deployment not found", reason="DEPLOYMENT_NOT_FOUND")
        (standing,) = await self._standings.of([found], upto)
        await self._take(holder, ThingKind.STANDING, node_ids, upto)
        return await holder.show_alone(standing)

    async def node(self, holder: OwnHolder, node: str, upto: int) -> NodeView:
        """Return a node by its id or name, as it was after a commit; NotFoundError if none was."""
        await holder.begin_alone()
        node_id = await self._node_id(holder, node, upto)
        await self._take(holder, ThingKind.NODE, [node_id], upto)
        # Of loads and policies only the last one still says anything.
        await self._take_last(holder, ThingKind.LOAD, node_id, upto)
        await self._take_last(holder, ThingKind.POLICY, numbered(0), upto)
        # What rounds wanted of a replica may be told by one that names its deployment only.
        deployment_ids = await holder.placed_alone(node_id)
        await self._take(holder, ThingKind.DEPLOYMENT, deployment_ids, upto)
        wanted = Wanted(frozenset(deployment_ids), frozenset([node_id]))
        views = await holder.nodes_alone(wanted)
        return next(view for view in views if view.id == node_id)

    async def _node_id(self, holder: OwnHolder, node: str, upto: int) -> str:
        """Return the id of a node there was: of that id, else the last of the fleet so named."""
        id_ = node.lower()
        await self._take(holder, ThingKind.STANDING, [id_], upto)
        if await holder.nodes_alone(Wanted()):
            return id_
        await self._take(holder, ThingKind.NODE_NAME, [named(node)], upto)
        once = [view.id for view in await holder.nodes_alone(Wanted())]
        await self._take(holder, ThingKind.STANDING, once, upto)
        views = [
            view
            for view in await holder.nodes_alone(Wanted())
            if view.name == node and of_the_fleet(view)
        ]
        if not views:
            raise NotFoundError("Node not found", reason="NODE_NOT_FOUND")
        return max(views, key=lambda view: view.epoch).id

    async def _take(
        self, holder: OwnHolder, kind: ThingKind, ids: Sequence[str], upto: int
    ) -> None:
        """Hand over what touches some things, in parts."""
        wanted = [id_ for id_ in ids if is_id(id_)]
        if not wanted:
            return
        async with aclosing(self._index.counting(kind, wanted, upto)) as parts:
            async for touched in parts:
                await self._hand_over(holder, touched)

    async def _take_last(self, holder: OwnHolder, kind: ThingKind, id_: str, upto: int) -> None:
        last = await self._index.last_counting(kind, id_, upto)
        if last is not None:
            await self._hand_over(holder, [last])

    async def _hand_over(self, holder: OwnHolder, touched: Sequence[Touched]) -> None:
        sequences = {each.commit.sequence for each in touched}
        await holder.take_alone(touched, await self._standings.log_times_us(sequences))


def of_the_fleet(node: NodeView) -> bool:
    """Tell whether a node was not removed."""
    return node.status is not NodeStatus.REMOVED
