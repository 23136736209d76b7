"""The record of one thing by the ledger's index, asked through a gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio
import pytest

from fogbank.domain import events as ev
from fogbank.domain.errors import UnavailableError
from fogbank.domain.fleet import FleetState
from fogbank.domain.position import index_of, sequence_of
from fogbank.v1 import audit_service_pb2 as pb
from services.gateway.adapters.ledger_client import LedgerClient
from services.gateway.app.ports import Recorded
from services.gateway.app.records import Records
from services.ledger.adapters.database import MIGRATIONS, make_engine, prepare
from services.ledger.adapters.tables import COMMITS
from tests.support.audited import audited
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import OWNER, LittleLog, a_spec, an_id
from tests.support.gateway import signed_in
from tests.support.ledger import StoredLog, a_running_ledger, rows_of
from tests.support.mixed_story import tell
from tests.support.postgres import PostgresServer


async def record(audit: Any, thing: str, user: str = "admin", after: int = 0) -> list[Any]:
    request = pb.ReadEventsRequest(touching=thing, after_sequence=after)
    messages = [
        message async for message in audit.ReadEvents(request, metadata=signed_in(user), timeout=60)
    ]
    assert messages[-1].sequence == messages[-1].last_sequence
    return [message for message in messages if message.events]


def places(messages: list[Any], void: bool | None = None) -> list[tuple[int, int]]:
    return [
        (message.sequence, event.index)
        for message in messages
        for event in message.events
        if void is None or event.void == void
    ]


def unpacked(position: int) -> tuple[int, int]:
    return sequence_of(position), index_of(position)


async def test_every_record_of_a_story_is_what_reading_the_whole_log_finds(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tell(21, events=120, nodes=6)
    log = StoredLog()
    log.publish(told.log)
    fleet = FleetState()
    verdicts = [each for commit in told.log.commits for each in fleet.fold(commit).verdicts]
    void = {unpacked(each.position) for each in verdicts if not each.accepted}
    deployments, nodes = list(fleet.facts.deployments)[:12], list(fleet.facts.nodes)
    things = [f"deployment/{id_}" for id_ in deployments] + [f"node/{id_}" for id_ in nodes]
    things += [f"replica/{id_}" for id_ in list(fleet.decisions.placements)[:12]]
    things.append(f"user/{OWNER}")
    async with a_running_ledger(url, log) as ledger, audited(ledger, log) as audit:
        by_index = {thing: await record(audit, thing) for thing in things}
        assert sum(map(len, by_index.values())) > 100
        said_void = {place for messages in by_index.values() for place in places(messages, True)}
        shown = {place for messages in by_index.values() for place in places(messages)}
        assert said_void == shown & void != set()

        async def silent(*_asked: object) -> AsyncGenerator[Recorded]:
            nothing: tuple[Recorded, ...] = ()
            for each in nothing:
                yield each
            raise UnavailableError("The ledger does not answer")

        with monkeypatch.context() as patched:
            patched.setattr(LedgerClient, "record", silent)
            for logged in (
                e for each in by_index.values() for message in each for e in message.events
            ):
                logged.void = False  # nobody judges what is read from the log
            assert {thing: await record(audit, thing) for thing in things} == by_index

        def unread(*_span: int) -> Any:
            raise AssertionError("the log is read")

        monkeypatch.setattr(Records, "_read", unread)
        late = await record(audit, things[0], after=by_index[things[0]][-1].sequence - 1)
        assert places(late) == places(by_index[things[0]][-1:])


async def test_clusters_and_organizations_have_records(url: str) -> None:
    fleet = LittleFleet()
    fleet.fact(ev.OrganizationCreated("everybody"))
    fleet.fact(ev.ClusterCreated("default", 1))
    fleet.fact(ev.OrganizationCreated("ours", OWNER))
    fleet.fact(ev.ClusterCreated("mine", 2))
    fleet.fact(ev.ClusterCreated("void", 9))
    web = fleet.deploy(a_spec("web", cluster_id=2))
    fleet.deploy(a_spec("other", cluster_id=1))
    fleet.fact(ev.DeploymentDeleted(web))
    log = StoredLog()
    log.publish(fleet.log)
    async with a_running_ledger(url, log) as ledger, audited(ledger, log) as audit:
        assert places(await record(audit, "cluster/2")) == [(4, 0), (6, 0), (8, 0)]
        assert places(await record(audit, "organization/2")) == [(3, 0), (4, 0), (6, 0), (8, 0)]
        for thing, user, code in (
            ("cluster/3", "admin", grpc.StatusCode.NOT_FOUND),
            ("cluster/x", "admin", grpc.StatusCode.NOT_FOUND),
            ("organization/2", "bob", grpc.StatusCode.NOT_FOUND),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await record(audit, thing, user)
            assert caught.value.code() is code
        followed = audit.ReadEvents(
            pb.ReadEventsRequest(touching="cluster/2", follow=True), metadata=signed_in("admin")
        )
        with pytest.raises(grpc.aio.AioRpcError, match="read up to now"):
            await followed.read()
        whole = await record(audit, f"deployment/{web}")
        rotten = "UPDATE commits SET data = set_byte(data, 30, get_byte(data, 30) # 1)"
        for harm, said in (
            (f"{rotten} WHERE sequence = 6", "copy of commit 6 is damaged"),
            ("DELETE FROM commits WHERE sequence = 6", "copy of commit 6 is gone"),
        ):
            await rows_of(url, harm)
            with pytest.raises(grpc.aio.AioRpcError, match=said):
                await record(audit, "cluster/2")
            assert await record(audit, f"deployment/{web}") == whole, "from the log itself"


async def test_a_database_of_before_gets_its_index(url: str, postgres: PostgresServer) -> None:
    told = tell(5, events=60, nodes=4)
    told.log.scale_at_once("several", "at once")
    log = StoredLog()
    log.publish(told.log)
    async with a_running_ledger(url, log):
        pass
    touches = "SELECT kind, id, position, counts FROM touches ORDER BY 1, 2, 3"
    kept = await rows_of(url, touches)
    several = await rows_of(url, "SELECT DISTINCT more::text AS more FROM commit_touches")
    assert {row["more"] for row in several} > {None, "[-1,2]", "[-4,5]"}
    commits = await rows_of(url, "SELECT * FROM commits ORDER BY sequence")
    assert kept
    async with postgres.database() as before:
        engine = make_engine(before, 1)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(MIGRATIONS.apply, "0007")
                # Instants are numbers to the ledger's connections.
                await connection.execute(
                    COMMITS.insert(), [{**row, "appended_at": 0} for row in commits]
                )
            await prepare(engine, "default", 1)
        finally:
            await engine.dispose()
        assert await rows_of(before, touches) == kept


async def test_events_that_touch_a_thing_are_rows_to_who_asks_in_sql(url: str) -> None:
    little, log = LittleLog(), StoredLog()
    fleet = FleetState()
    for commit in (little.scale_at_once("web", "api"), little.scale_at_once("web", "other")):
        fleet.fold(commit)
    log.publish(little)
    shown = "SELECT position >> 16, position & 65535, counts FROM touches"
    async with a_running_ledger(url, log) as ledger, audited(ledger, log) as audit:
        rows = await rows_of(url, f"{shown} WHERE id = '{an_id('web')}' ORDER BY position")
        # Created once more it is void; scaled by the same ids as before as well.
        first = [(1, 0, True), (1, 1, False), (1, 2, True)]
        assert [*map(tuple, rows)] == [*first, *((2, index, False) for index in range(3))]
        found = await record(audit, f"deployment/{an_id('web')}")
        assert places(found) == [(sequence, index) for sequence, index, _ in map(tuple, rows)]
