"""Showing and following nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from fogbank.domain.status import placed_view
from fogbank.domain.views import AsOf, Moment, NodeReplica, NodeView, Page
from services.gateway.app.fold import FleetFold
from services.gateway.app.ports import LedgerQueries
from services.gateway.app.principal import Principal
from services.gateway.app.views import node_view, replica_summary
from services.gateway.core.node_commands import find_node


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node as it is now; everything up to `sequence` was told. No node: only that."""

    node: NodeView | None
    sequence: int


class Nodes:
    """The use cases of nodes, for all faces. Every signed-in user may see the fleet."""

    def __init__(self, fold: FleetFold, ledger: LedgerQueries) -> None:
        self._fold = fold
        self._ledger = ledger
        # Of each node that was followed the last view, and the commit that had touched it then.
        self._followed: dict[str, tuple[int, NodeView]] = {}

    async def list(
        self,
        limit: int = 100,
        offset: int = 0,
        min_sequence: int = 0,
        moment: Moment | None = None,
    ) -> AsOf[Page[NodeView]]:
        """List nodes by name, as they were at a moment if one is given.

        Raises:
            InvalidArgumentError: the log has no such moment.
            UnavailableError: the ledger does not answer in time.
        """
        return await self._ledger.nodes(limit, offset, min_sequence, moment)

    async def get(
        self, node: str, min_sequence: int = 0, moment: Moment | None = None
    ) -> AsOf[NodeView]:
        """Show a node by id or name, as it was at a moment if one is given.

        Raises:
            NotFoundError: there is none, or was none.
            InvalidArgumentError: the log has no such moment.
            UnavailableError: the ledger does not answer in time.
        """
        return await self._ledger.node(node, min_sequence, moment)

    async def replicas(
        self, principal: Principal, node: str, moment: Moment | None = None
    ) -> AsOf[Page[NodeReplica]]:
        """List what is placed on a node and has not ended, by the deployments' names and slots.

        It is as it was at a moment if one is given. Of those only what the caller may see is
        listed; all are counted.

        Raises:
            InvalidArgumentError, NotFoundError: as `find_node`; the log has no such moment.
            UnavailableError: the ledger does not answer in time.
        """
        if moment is not None:
            owner_id = "" if principal.sees_all else principal.user_id
            return await self._ledger.node_replicas(node, owner_id, moment)
        fleet = self._fold.fleet
        placed = list(fleet.on_node(find_node(fleet, node).id))
        listed = [
            NodeReplica(
                each.deployment_id,
                deployment.spec.name,
                replica_summary(self._fold, placed_view(fleet, each)),
                each.resources,
            )
            for each in placed
            if (deployment := fleet.facts.deployments[each.deployment_id]).owner_id
            == principal.user_id
            or principal.sees_all
        ]
        listed.sort(key=lambda each: (each.deployment_name, each.deployment_id, each.replica.slot))
        return AsOf(Page(tuple(listed), len(placed)), self._fold.position)

    async def watch(self, after_sequence: int = 0) -> AsyncIterator[NodeChange]:
        """Follow nodes after a log sequence (0: from now on), for ever.

        A node that changed several times since the last look is told once, as it is now.

        Raises:
            OutOfRangeError: the log does not go as far.
        """
        await self._fold.check_reached(after_sequence, "after_sequence")
        cursor = after_sequence or self._fold.position
        told: dict[str, NodeView] = {}
        while True:
            await self._fold.advance(cursor)
            touched = self._fold.nodes_touched_after(cursor)
            cursor = self._fold.position
            for index, (sequence, node_id) in enumerate(touched):
                view = self._view(node_id, sequence)
                if told.get(node_id) == view:
                    continue
                told[node_id] = view
                # Those that follow are not told yet, so only what was before them is complete.
                upto = touched[index + 1][0] - 1 if index + 1 < len(touched) else cursor
                yield NodeChange(view, upto)
            yield NodeChange(None, cursor)

    def _view(self, node_id: str, touched: int) -> NodeView:
        """Return a node as it is now; the same object to all who follow it, until it changes.

        They may be many, and the fleet large: each with views of its own would take the memory.
        """
        known = self._followed.get(node_id)
        if known is not None and known[0] == touched:
            return known[1]
        view = node_view(self._fold, self._fold.fleet.facts.nodes[node_id])
        if known is not None and known[1] == view:
            view = known[1]
        self._followed[node_id] = touched, view
        return view
