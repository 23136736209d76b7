"""Many may follow a large fleet: what each is told of a node is made once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fogbank.domain import events as ev
from fogbank.domain.facts import NodeFact
from fogbank.domain.views import NodeView
from services.gateway.app import nodes as nodes_module
from services.gateway.app.fold import FleetFold
from services.gateway.app.nodes import NodeChange, Nodes
from services.gateway.app.views import node_view
from tests.support.fleet_log import an_id
from tests.support.gateway import GatewayWorld

FOLLOWERS = 5
NODES = [an_id(f"fog-{number}") for number in range(3)]


async def told(changes: AsyncIterator[NodeChange], upto: int) -> dict[str, NodeView]:
    """Return the views that a follower is told until it is as far as a commit."""
    views = {}
    async with asyncio.timeout(20):
        async for change in changes:
            if change.node is not None:
                views[change.node.id] = change.node
            if change.sequence >= upto:
                return views
    raise AssertionError("it ended")


async def test_all_who_follow_are_told_the_same_objects(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(fold: FleetFold, node: NodeFact) -> NodeView:
        made.append(node.id)
        return node_view(fold, node)

    monkeypatch.setattr(nodes_module, "node_view", counted)
    nodes = Nodes(world.fold, world.ledger)
    followers = [nodes.watch(1) for _ in range(FOLLOWERS)]
    for number, node_id in enumerate(NODES):
        await world.connect_node(node_id, f"fog-{number}")
    first, *others = [await told(each, world.fold.position) for each in followers]
    assert sorted(first) == sorted(NODES)
    assert all(other[id_] is view for other in others for id_, view in first.items())
    assert sorted(made) == sorted(NODES), "once for each"
    await world.append(ev.NodeCordoned(NODES[1], "full"))
    for follower in followers:
        changed = await told(follower, world.fold.position)
        assert [(id_, view.cordoned) for id_, view in changed.items()] == [(NODES[1], True)]
    assert made[len(NODES) :] == [NODES[1]]
    late = await told(nodes.watch(1), world.fold.position)
    assert late[NODES[0]] is first[NODES[0]]
    assert late[NODES[1]].cordoned
    assert len(made) == len(NODES) + 1
