"""Lists count by their rows: a page of a thousand nodes is as much work as fifty requests."""

from __future__ import annotations

import pytest

from fogbank.runtime.clock import ManualClock
from fogbank.v1 import node_service_pb2 as pb
from services.gateway.app.limits import Allowance, Limits
from tests.support.fleet_log import an_id
from tests.support.gateway import gateway_world, refusal
from tests.support.rest_face import deploy_body, rest_face

ALICE = (("authorization", "Bearer alice"),)
FEW = Allowance(requests_per_second=2)


async def test_the_rows_of_a_list_count() -> None:
    clock = ManualClock()
    async with gateway_world(clock=clock, allowance=FEW) as world:
        for number in range(45):
            await world.connect_node(an_id(f"fog-{number}"), f"fog-{number}")
        nodes, listing = world.node_service, pb.ListNodesRequest()
        await nodes.ListNodes(pb.ListNodesRequest(page_size=10), metadata=ALICE)
        assert len((await nodes.ListNodes(listing, metadata=ALICE)).nodes) == 45
        error = await refusal(nodes.ListNodes(listing, metadata=ALICE))
        assert "Too many requests" in (error.details() or "")
        clock.advance(0.5)
        await nodes.ListNodes(listing, metadata=ALICE)


async def test_what_a_stream_of_nodes_begins_with_counts_as_a_list_does() -> None:
    clock = ManualClock()
    async with gateway_world(clock=clock, allowance=FEW) as world:
        begin = world.fold.position
        for number in range(45):
            await world.connect_node(an_id(f"fog-{number}"), f"fog-{number}")
        nodes = world.node_service
        watch = pb.WatchNodesRequest(after_sequence=begin)

        async def caught_up() -> int:
            stream = nodes.WatchNodes(watch, metadata=ALICE)
            seen = {(await stream.read()).node.id for _ in range(45)}
            stream.cancel()
            return len(seen)

        assert await caught_up() == await caught_up() == 45
        error = await refusal(nodes.WatchNodes(watch, metadata=ALICE).read())
        assert "Too many requests" in (error.details() or "")
        clock.advance(2)
        assert await caught_up() == 45


async def test_the_rows_of_a_list_count_over_rest() -> None:
    async with rest_face() as face, face.client("ann") as client:
        face.app.state.dependencies.identity.limits = Limits(ManualClock(), FEW)
        await face.add_nodes(*(f"fog-{number}" for number in range(45)))
        answers = [await client.get("/cluster/nodes?limit=45") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert len(answers[0].json()) == 45


@pytest.mark.parametrize("listing", ["deployment/list?limit=45", "deployments?cluster_id=1"])
async def test_the_rows_of_a_list_of_deployments_count_over_rest(listing: str) -> None:
    async with rest_face() as face, face.client("ann") as client:
        for _ in range(45):
            await client.post("/api/deployment/deploy", json=deploy_body())
        face.app.state.dependencies.identity.limits = Limits(ManualClock(), FEW)
        answers = [await client.get(f"/api/{listing}") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert len(answers[0].json()) == 45
