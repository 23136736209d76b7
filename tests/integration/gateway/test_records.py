"""The record of one thing over gRPC and with `fog audit log`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import grpc
import pytest
from pyarrow import parquet

from fogbank.cli.main import run
from fogbank.domain import events as ev
from fogbank.domain import forgetting
from fogbank.domain.errors import NotFoundError, UnavailableError
from fogbank.domain.ids import replica_id
from fogbank.domain.states import DeploymentStatus
from fogbank.v1 import audit_service_pb2 as pb
from fogbank.v1 import node_service_pb2
from tests.support.fleet_log import a_spec, an_id
from tests.support.gateway import GatewayWorld, gateway_world, signed_in
from tests.support.named_users import ADMIN, ALICE, BOB, NamedUsers


@pytest.fixture
async def world() -> AsyncIterator[GatewayWorld]:
    async with gateway_world() as world:
        yield world


async def record(world: GatewayWorld, thing: str, user: str = "admin") -> list[Any]:
    """Return the messages that hold events."""
    request = pb.ReadEventsRequest(touching=thing)
    answers = world.audit_service.ReadEvents(request, metadata=signed_in(user))
    messages = [message async for message in answers]
    assert messages[-1].sequence == messages[-1].last_sequence == world.fold.position
    return [message for message in messages if message.events]


def outcomes(message: Any) -> list[dict[str, Any]]:
    (event,) = message.events
    found: list[dict[str, Any]] = json.loads(event.payload_json)["outcomes"]
    return found


async def preempted(world: GatewayWorld) -> tuple[str, str, str]:
    """Let bob's deployment take the room of alice's; return both and alice's replica."""
    mine = (await world.deployments.create(ALICE, a_spec("mine"))).deployment_id
    theirs = (await world.deployments.create(BOB, a_spec("theirs", priority=90))).deployment_id
    (replica,) = await world.scheduler.place(mine, an_id("node-1"))
    taker = world.fold.fleet.facts.deployments[theirs]
    taken = replica_id(theirs, 0, 1)
    await world.scheduler.decide(
        ev.DeploymentPlaced(
            theirs,
            taker.version,
            taker.spec.resources,
            (ev.Placement(taken, 0, 1, an_id("node-1"), 812, starts_after=(replica,)),),
            ev.Considered(3, 1, (("cpu", 2),), ((an_id("node-1"), 812),)),
            evictions=(ev.Eviction(mine, (replica,)),),
        )
    )
    return mine, theirs, replica


async def test_a_deployment_with_who_preempted_it(world: GatewayWorld) -> None:
    mine, theirs, replica = await preempted(world)
    messages = await record(world, f"deployment/{mine}")
    assert [message.sequence for message in messages] == [2, 4, 5]
    (evicted,) = outcomes(messages[-1])
    assert evicted["placed"]["evictions"] == [{"deployment_id": mine, "replica_ids": [replica]}]
    # To its author of the other one no more than that.
    own = await record(world, f"deployment/{mine}", "alice")
    assert [message.sequence for message in own] == [2, 4, 5]
    (evicted,) = outcomes(own[-1])
    assert evicted["placed"]["deployment_id"] == theirs
    assert evicted["placed"]["considered"] == {}
    assert "placements" not in evicted["placed"]
    # Byte for byte where all of a commit is about it.
    raw = await world.log.get(2)
    assert raw is not None
    assert own[0].events[0].envelope.payload in raw.data


async def test_a_deployment_that_the_fleet_has_forgotten(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its author still reads its record and what became of it, by the ledger's word."""
    monkeypatch.setattr(forgetting, "KEPT_DELETED_US", 0)
    monkeypatch.setattr(forgetting, "FORGETTING_ENGINE", 1)
    await world.connect_node(an_id("node-1"), "fog-1")
    mine, theirs, _ = await preempted(world)
    await world.append(ev.NodeRemoved(an_id("node-1")))
    await world.deployments.delete(ALICE, mine)
    whole, own = [await record(world, f"deployment/{mine}", user) for user in ("admin", "alice")]
    world.ledger.forgotten[mine] = world.deployments.show(ALICE, mine)
    await world.scheduler.release(theirs, replica_id(theirs, 0, 1))
    assert mine not in world.fold.fleet.facts.deployments
    assert events(await record(world, f"deployment/{mine}")) == events(whole)
    assert events(await record(world, f"deployment/{mine}", "alice")) == events(own)
    assert (await world.deployments.get(ALICE, mine)).value.status is DeploymentStatus.DELETED
    with pytest.raises(grpc.aio.AioRpcError, match="Deployment not found"):
        await record(world, f"deployment/{mine}", "bob")
    with pytest.raises(NotFoundError):
        await world.deployments.get(BOB, mine)
    with pytest.raises(NotFoundError):
        await world.deployments.delete(ALICE, mine)


async def test_a_replica_that_the_fleet_has_forgotten(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deployment is there: that tells whose it was, and who may read its record."""
    monkeypatch.setattr(forgetting, "kept_superseded_us", lambda _: 0)
    monkeypatch.setattr(forgetting, "FORGETTING_ENGINE", 1)
    for number in (1, 2):
        await world.connect_node(an_id(f"node-{number}"), f"fog-{number}")
    mine, _theirs, replica = await preempted(world)
    await world.append(ev.NodeRemoved(an_id("node-1")))
    whole, own = [await record(world, f"replica/{replica}", user) for user in ("admin", "alice")]
    await world.scheduler.place(mine, an_id("node-2"))
    await world.scheduler.place(mine, an_id("node-2"), first_slot=1)
    assert replica not in world.fold.fleet.decisions.placements
    assert events(await record(world, f"replica/{replica.upper()}")) == events(whole)
    assert events(await record(world, f"replica/{replica}", "alice")) == events(own)
    assert len(events(own)) == 2
    for user, unknown in (("bob", replica), ("alice", replica_id(mine, 9, 1))):
        with pytest.raises(grpc.aio.AioRpcError, match="Replica not found"):
            await record(world, f"replica/{unknown}", user)


def events(messages: list[Any]) -> list[tuple[int, list[bytes]]]:
    return [
        (message.sequence, [each.SerializeToString() for each in message.events])
        for message in messages
    ]


async def test_replicas_nodes_and_users(world: GatewayWorld) -> None:
    mine, _theirs, replica = await preempted(world)
    await world.deployments.delete(ADMIN, mine)
    for called in (replica, replica.upper(), replica[:8]):
        assert [each.sequence for each in await record(world, f"replica/{called}")] == [4, 5]
    assert [each.sequence for each in await record(world, f"user/{ALICE.user_id}")] == [2]
    assert [each.sequence for each in await record(world, f"user/{ADMIN.user_id}")] == [6]
    assert [each.sequence for each in await record(world, f"user/{BOB.user_id}", "bob")] == [3]
    # Whatever it was asked for by, the record says what it is of by its id.
    for user, called, thing in (
        ("admin", f"replica/{replica[:8].upper()}", f"replica/{replica}"),
        ("admin", "user/Alice", f"user/{ALICE.user_id}"),
        ("bob", "user/bob", f"user/{BOB.user_id}"),
    ):
        found = await record(world, called, user)
        assert {each.touching for each in found} == {thing}
        assert (
            [each.sequence for each in found]
            == [each.sequence for each in await record(world, thing, user)]
            != []
        )


async def subjects_of(world: GatewayWorld, user: str, **wanted: Any) -> list[tuple[int, str]]:
    request = pb.ReadEventsRequest(**wanted)
    answers = world.audit_service.ReadEvents(request, metadata=signed_in(user))
    return [(message.sequence, message.subject) async for message in answers if message.events]


async def test_by_subject_of_the_log(world: GatewayWorld) -> None:
    mine, _, _ = await preempted(world)
    everything = await subjects_of(world, "admin")
    for user, wanted in (
        ("admin", {}),
        ("alice", {}),
        ("admin", {"touching": f"deployment/{mine}"}),
    ):
        seen = await subjects_of(world, user, **wanted)
        rounds = await subjects_of(world, user, subjects=["fogbank.log.*.*.scheduler.>"], **wanted)
        assert rounds == [each for each in seen if ".scheduler." in each[1]] != []
        assert {sequence for sequence, _ in rounds} < {sequence for sequence, _ in seen}
        (first, _), *rest = rounds
        assert rest == await subjects_of(
            world, user, subjects=["*.*.*.*.scheduler.*"], after_sequence=first, **wanted
        )
    assert everything == await subjects_of(world, "admin", subjects=[">"])
    with pytest.raises(grpc.aio.AioRpcError, match="subjects: must be tokens") as caught:
        await subjects_of(world, "admin", subjects=["a..b"])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_who_may_not_and_what_there_is_not(world: GatewayWorld) -> None:
    mine, _, replica = await preempted(world)
    for thing, user, code, words in (
        (f"deployment/{mine}", "bob", grpc.StatusCode.NOT_FOUND, "Deployment not found"),
        (f"replica/{replica}", "bob", grpc.StatusCode.NOT_FOUND, "Replica not found"),
        (f"replica/{replica[:8]}", "bob", grpc.StatusCode.NOT_FOUND, "Replica not found"),
        (f"replica/{replica[:7]}", "alice", grpc.StatusCode.NOT_FOUND, "Replica not found"),
        (f"user/{ALICE.user_id}", "bob", grpc.StatusCode.NOT_FOUND, "User not found"),
        # Names are no way to find out who there is.
        ("user/alice", "bob", grpc.StatusCode.NOT_FOUND, "User not found"),
        ("user/nobody", "bob", grpc.StatusCode.NOT_FOUND, "User not found"),
        ("user/nobody", "admin", grpc.StatusCode.NOT_FOUND, "User not found"),
        ("user/" + "a" * 65, "admin", grpc.StatusCode.NOT_FOUND, "User not found"),
        ("user/a\0", "admin", grpc.StatusCode.NOT_FOUND, "User not found"),
        ("node/fog-9", "admin", grpc.StatusCode.NOT_FOUND, "Node not found"),
        ("deployment/x", "admin", grpc.StatusCode.NOT_FOUND, "Deployment not found"),
        ("policy", "admin", grpc.StatusCode.INVALID_ARGUMENT, "touching: must be"),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
            await record(world, thing, user)
        assert caught.value.code() is code


async def test_the_command_tells_it_in_words_and_exports_it(
    world: GatewayWorld,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    mine, theirs, replica = await preempted(world)
    monkeypatch.setenv("FOG_ADDR", world.address)
    monkeypatch.setenv("FOG_TOKEN", "admin")

    async def fog(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(run, ["audit", "log", f"deployment/{mine}", *arguments])
        return code, capsys.readouterr().out

    code, told = await fog()
    assert code == 0
    assert f"deployment created by user/{ALICE.user_id} (alice): mine, 1 of nginx" in told
    assert f"replica {replica[:8]}, slot 0, placed on node {an_id('node-1')[:8]}, score 1" in told
    assert f"replica {replica[:8]} evicted: preempted by theirs (priority 90, {theirs[:8]})" in told
    assert "looked at 3 nodes, 1 fit; turned down: 2 cpu; best: node" in told
    assert "decided with policy balanced@1, engine 1, on facts up to 4" in told
    assert f"because of 3.0: deployment created theirs (priority 90, {theirs[:8]}) by" in told
    assert await asyncio.to_thread(run, ["audit", "why", f"deployment/{mine}"]) == 0
    chain = capsys.readouterr().out.splitlines()
    assert f"evicted: preempted by theirs (priority 90, {theirs[:8]})" in chain[0]
    assert chain[-1].strip().startswith("because 3.0")
    theirs_named = f"theirs (priority 90, {theirs[:8]})"
    assert f"deployment created {theirs_named} by user/{BOB.user_id}" in chain[-1]
    assert await asyncio.to_thread(run, ["audit", "why", f"deployment/{mine}", "-o", "json"]) == 0
    assert [row["sequence"] for row in json.loads(capsys.readouterr().out)] == [5, 3]
    code, told = await fog("-o", "json")
    (cause,) = json.loads(told.splitlines()[-1])["causes"]
    assert (cause["event_id"], cause["sequence"]) == (theirs, 3)
    assert [json.loads(line)["sequence"] for line in told.splitlines()] == [2, 4, 5]
    path = tmp_path / "mine.jsonl"
    assert (await fog("--export", str(path)))[0] == 0
    assert path.read_text() == told
    assert (await fog("--export", str(tmp_path / "mine.csv")))[0] == 64
    assert (await fog("--export", str(tmp_path / "nowhere" / "mine.jsonl")))[0] == 1


async def test_why_goes_back_to_who_drained_the_node_also_for_who_owns_the_replica(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = an_id("node-1")
    await world.connect_node(node, "fog-1")
    mine = (await world.deployments.create(ALICE, a_spec("mine"))).deployment_id
    (replica,) = await world.scheduler.place(mine, node)
    await world.node_service.DrainNode(
        node_service_pb2.DrainNodeRequest(node=node), metadata=signed_in("admin")
    )
    drained = world.fold.position
    await world.connect_node(an_id("node-2"), "fog-2")
    deployment = world.fold.fleet.facts.deployments[mine]
    moved = ev.Placement(replica_id(mine, 0, 2), 0, 2, an_id("node-2"), 7, replaces=replica)
    await world.scheduler.decide(
        ev.DeploymentPlaced(mine, deployment.version, deployment.spec.resources, (moved,))
    )
    monkeypatch.setenv("FOG_ADDR", world.address)

    async def why(user: str, thing: str) -> list[str]:
        monkeypatch.setenv("FOG_TOKEN", user)
        capsys.readouterr()
        assert await asyncio.to_thread(run, ["audit", "why", thing]) == 0
        return capsys.readouterr().out.splitlines()

    for user in ("admin", "alice"):
        *_, last = await why(user, f"deployment/{mine}")
        assert last.split()[:2] == ["because", f"{drained}.0"]
        assert f"node draining fog-1 by user/{ADMIN.user_id}" in last
        assert "T" in last.split()[2], "when"
    assert "node draining by user/" in (await why("admin", "node/fog-1"))[-1]
    await world.node_service.CordonNode(
        node_service_pb2.CordonNodeRequest(node="fog-2"), metadata=signed_in("admin")
    )
    (only,) = await why("admin", "node/fog-2")
    assert f"node cordoned by user/{ADMIN.user_id} (admin)" in only


async def test_the_record_of_who_did_nothing_says_so(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOG_ADDR", world.address)
    monkeypatch.setenv("FOG_TOKEN", "admin")
    nobody = f"user/{an_id('nobody')}"
    assert await asyncio.to_thread(run, ["audit", "log", nobody]) == 0
    assert capsys.readouterr() == ("", f"nothing in the log about {nobody}\n")


async def test_names_of_others_do_for_administrators_where_they_are_of_one_thing(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, theirs, _ = await preempted(world)
    monkeypatch.setenv("FOG_ADDR", world.address)

    async def fog(user: str, thing: str) -> tuple[int, str]:
        monkeypatch.setenv("FOG_TOKEN", user)
        code = await asyncio.to_thread(run, ["audit", "log", thing])
        told = capsys.readouterr()
        return code, told.err if code else told.out

    code, told = await fog("admin", "deployment/theirs")
    assert (code, "deployment created by user" in told) == (0, True)
    code, told = await fog("alice", "deployment/theirs")
    assert code == 1
    assert told.startswith("fog: no deployment is named 'theirs'\n")
    hers = (await world.deployments.create(ALICE, a_spec("theirs"))).deployment_id
    code, told = await fog("admin", "deployment/theirs")
    assert (code, "2 deployments are named 'theirs'" in told) == (1, True)
    assert f"{hers} of alice" in told
    assert f"{theirs} of bob" in told
    assert (await fog("alice", "deployment/theirs"))[0] == 0, "her own goes first"
    for kind in ("cluster", "organization"):
        # It is found; its record is the ledger's alone.
        assert "there is no index here" in (await fog("admin", f"{kind}/default"))[1]
        assert f"no {kind} is named 'nope'" in (await fog("admin", f"{kind}/nope"))[1]


async def test_the_command_tells_what_a_command_changed(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = (await world.deployments.create(ALICE, a_spec("mine"))).deployment_id
    await world.deployments.scale(ADMIN, mine, 2)
    monkeypatch.setenv("FOG_ADDR", world.address)
    monkeypatch.setenv("FOG_TOKEN", "alice")
    log = ["audit", "log", f"deployment/{mine}"]
    assert await asyncio.to_thread(run, log) == 0
    said = f"deployment scaled by user/{ADMIN.user_id}: replicas"
    assert f"{said} 1 -> 2" in capsys.readouterr().out
    assert await asyncio.to_thread(run, [*log, "--after", "2"]) == 0
    assert f"{said} 2" in capsys.readouterr().out, "without the creation"


async def test_all_that_one_may_see_is_exported_also_as_parquet(
    world: GatewayWorld,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    mine, theirs, _ = await preempted(world)
    monkeypatch.setenv("FOG_ADDR", world.address)
    monkeypatch.setenv("FOG_TOKEN", "admin")
    lines, table = tmp_path / "log.jsonl", tmp_path / "log.parquet"
    for path in (lines, table):
        assert await asyncio.to_thread(run, ["audit", "export", str(path)]) == 0
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(told) >= world.fold.position
    rows = parquet.read_table(table).to_pylist()
    assert [(row["sequence"], row["index"], row["event_id"]) for row in rows] == [
        (row["sequence"], row["index"], row["event_id"]) for row in told
    ]
    assert [json.loads(row["payload"]) for row in rows] == [row["payload"] for row in told]
    assert {mine, theirs} <= {row["event_id"] for row in rows}
    assert rows[0]["appended_at"].tzinfo is not None
    # What is refused is said alone, and leaves nothing behind.
    capsys.readouterr()
    table.unlink()
    assert await asyncio.to_thread(run, ["audit", "export", str(table), "--after", "999"]) == 1
    gc.collect()
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("fog: --after: must be at most ")
    assert await asyncio.to_thread(os.listdir, tmp_path) == [lines.name]
    # Without pyarrow it says what to install, and leaves nothing behind.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert await asyncio.to_thread(run, ["audit", "export", str(table)]) == 1
    assert await asyncio.to_thread(os.listdir, tmp_path) == [lines.name]


async def test_who_acted_is_named_to_who_may_know_the_name(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _, _ = await preempted(world)
    actors = [dict(each.actor_names) for each in await record(world, f"deployment/{mine}")]
    alice, bob = an_id("alice"), an_id("bob")
    assert actors == [{alice: "alice"}, {alice: "alice"}, {bob: "bob"}]
    own = [dict(each.actor_names) for each in await record(world, f"deployment/{mine}", "alice")]
    assert own[:2] == [{alice: "alice"}] * 2
    assert own[2] == {}, "who preempted it is nobody she knows"

    async def away(_self: NamedUsers, _ids: Collection[str]) -> dict[str, str]:
        raise UnavailableError("the database is down", retry_after_ms=10)

    monkeypatch.setattr(NamedUsers, "names", away)
    unnamed = await record(world, f"deployment/{mine}")
    assert [dict(each.actor_names) for each in unnamed] == [{}] * 3
