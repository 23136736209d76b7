"""The past of deployments and nodes, folded from the events that an index names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from fogbank.domain.errors import NotFoundError, UnavailableError
from fogbank.domain.states import NodeStatus
from fogbank.domain.views import RECENT_CHANGES, DeploymentView, NodeReplica, NodeView
from services.ledger.app.past_reads import PastReads
from services.ledger.app.records import RecordIndex, Touched
from services.ledger.app.standings import Standing, Standings
from services.ledger.core.alone import TakenRoom
from services.ledger.core.touched import ThingKind, is_id, named, numbered


class HolderEndedError(UnavailableError):
    """Who held the events is gone, and they with it."""

    default_reason = "REPLAY_ENDED"


@dataclass(frozen=True, slots=True)
class OwnedReplica:
    """A replica on a node, and who owns its deployment."""

    owner_id: str
    replica: NodeReplica


class OwnHolder(Protocol):
    """Folds chosen events and shows what they lead to, elsewhere than in this event loop.

    All methods raise HolderEndedError when it is gone, and ReplayFailedError where a commit can't
    be taken in.
    """

    async def begin_alone(self) -> None:
        """Hold chosen events from now on, none at first."""

    async def take_alone(self, touched: Sequence[Touched], log_times_us: Mapping[int, int]) -> None:
        """Take in some events, with the log times at their commits; taken twice they are one."""

    async def nodes_of(self, deployment_ids: Sequence[str]) -> Sequence[str]:
        """Return the nodes that some deployments were ever placed on."""

    async def placed_on(self, node_id: str) -> Sequence[str]:
        """Return the deployments with a replica on a node that has not ended."""

    async def replicas_on(
        self, node_id: str, deployment_ids: Sequence[str]
    ) -> Sequence[OwnedReplica]:
        """Return the replicas of some deployments on a node that have not ended."""

    async def show_alone(
        self, standings: Sequence[Standing], *, whole: bool
    ) -> Sequence[DeploymentView]:
        """Return deployments; with their replicas and changes if `whole`."""

    async def nodes_alone(self, taken: Mapping[str, TakenRoom]) -> Sequence[NodeView]:
        """Return the nodes that the events tell of, of which so much is taken."""


class OwnPast:
    """Answers one question after the other; events that were void are taken for nothing."""

    def __init__(self, index: RecordIndex, reads: PastReads, standings: Standings) -> None:
        self._index = index
        self._reads = reads
        self._standings = standings

    async def deployment(
        self, holder: OwnHolder, deployment_id: str, owner_id: str, upto: int
    ) -> DeploymentView:
        """Return a deployment with its replicas and latest changes, as it was after a commit.

        Raises:
            NotFoundError: there was none of that id, or not of that owner.
        """
        found = await self.deployments(holder, [deployment_id], upto, whole=True)
        if not found or (owner_id and found[0].owner_id != owner_id):
            raise NotFoundError.of("deployment", deployment_id)
        return found[0]

    async def deployments(
        self, holder: OwnHolder, deployment_ids: Sequence[str], upto: int, *, whole: bool = False
    ) -> Sequence[DeploymentView]:
        """Return deployments as they were after a commit; left out is who wasn't there.

        Replicas and changes are shown of `whole` ones.
        """
        ids = [id_ for id_ in deployment_ids if is_id(id_)]
        standings = await self._standings.of(ids, upto, RECENT_CHANGES if whole else 1)
        await holder.begin_alone()
        await self._take(holder, ThingKind.DEPLOYMENT, ids, upto)
        await self._take(holder, ThingKind.STANDING, await holder.nodes_of(ids), upto)
        return await holder.show_alone(standings, whole=whole)

    async def node(self, holder: OwnHolder, node: str, upto: int) -> NodeView:
        """Return a node by its id or name, as it was after a commit; NotFoundError if none was."""
        await holder.begin_alone()
        (view,) = await self._nodes(holder, [await self._node_id(holder, node, upto)], upto)
        return view

    async def replicas_on(self, holder: OwnHolder, node: str, upto: int) -> Sequence[OwnedReplica]:
        """Return what was on a node after a commit; NotFoundError if there was no such node."""
        await holder.begin_alone()
        node_id = await self._node_id(holder, node, upto)
        await self._take(holder, ThingKind.NODE, [node_id], upto)
        # What rounds wanted of a replica may be told by one that names its deployment only.
        deployment_ids = await holder.placed_on(node_id)
        await self._take(holder, ThingKind.DEPLOYMENT, deployment_ids, upto)
        return await holder.replicas_on(node_id, deployment_ids)

    async def nodes(
        self, holder: OwnHolder, node_ids: Sequence[str], upto: int
    ) -> Sequence[NodeView]:
        """Return nodes as they were after a commit, in the order of their ids here."""
        await holder.begin_alone()
        return await self._nodes(holder, node_ids, upto)

    async def _nodes(
        self, holder: OwnHolder, node_ids: Sequence[str], upto: int
    ) -> Sequence[NodeView]:
        await self._take(holder, ThingKind.STANDING, node_ids, upto)
        # Of loads and policies only the last one still says anything.
        await self._take(holder, ThingKind.LOAD, node_ids, upto, last=True)
        await self._take(holder, ThingKind.POLICY, [numbered(0)], upto, last=True)
        taken = await self._reads.rooms_taken(node_ids, upto)
        views = {view.id: view for view in await holder.nodes_alone(taken)}
        return [views[node_id] for node_id in node_ids]

    async def _node_id(self, holder: OwnHolder, node: str, upto: int) -> str:
        """Return the id of a node there was: of that id, else the last of the fleet so named."""
        id_ = node.lower()
        await self._take(holder, ThingKind.STANDING, [id_], upto)
        if await holder.nodes_alone({}):
            return id_
        await self._take(holder, ThingKind.NODE_NAME, [named(node)], upto)
        once = [view.id for view in await holder.nodes_alone({})]
        await self._take(holder, ThingKind.STANDING, once, upto)
        views = [
            view
            for view in await holder.nodes_alone({})
            if view.name == node and view.status is not NodeStatus.REMOVED
        ]
        if not views:
            raise NotFoundError.of("node", node)
        return max(views, key=lambda view: view.epoch).id

    async def _take(
        self,
        holder: OwnHolder,
        kind: ThingKind,
        ids: Sequence[str],
        upto: int,
        *,
        last: bool = False,
    ) -> None:
        """Hand over what touches some things, in parts; of each the `last` if wanted so."""
        wanted = [id_ for id_ in ids if is_id(id_)]
        if not wanted:
            return
        async with aclosing(self._index.counting(kind, wanted, upto, last=last)) as parts:
            async for touched in parts:
                sequences = {each.commit.sequence for each in touched}
                log_times_us = await self._standings.log_times_us(sequences)
                await holder.take_alone(touched, log_times_us)
