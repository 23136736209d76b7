"""The power fails in the middle of the work; what was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import count
from typing import Any

import asyncpg
import grpc
import pytest

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import LogUnavailableError, StoredCommit, Writer
from fogbank.log.stream import ApiError, StreamName, StreamSettings, ensure_stream
from fogbank.v1 import identity_service_pb2
from tests.support.chaos import chaos_system, judge, new_record
from tests.support.command_load import command_load
from tests.support.database_on_disk import DatabaseOnDisk
from tests.support.fog_up import FogUp
from tests.support.grpc_user import GrpcUser, grpc_admin
from tests.support.nats import NatsServer
from tests.support.power_cut import Disk, a_disk, fail, why_no_disk
from tests.support.projection import ledger_position
from tests.support.soak import lose_power
from tests.support.waiting import eventually

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800), pytest.mark.xdist_group("chaos")]

Report = Callable[[str, object], None]

NAME = StreamName("cut")
WRITERS = 4
# So much is acknowledged before the power fails.
ENOUGH = 400


@pytest.fixture
def disk() -> Iterator[Disk]:
    if reason := why_no_disk():
        pytest.skip(reason)
    with a_disk() as made:
        yield made


async def in_mid_load(
    write: Callable[[int], Coroutine[Any, Any, None]],
    acknowledged: Sequence[object],
    cut: Callable[[], None],
) -> None:
    """Let writers write until enough is acknowledged, cut, and let them notice."""
    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(write(number)) for number in range(WRITERS)]
        await eventually(lambda: len(acknowledged) >= ENOUGH, 60, what="enough acknowledgements")
        cut()
        for writer in writers:
            writer.cancel()


async def lost_by_the_broker(disk: Disk, *, sync_always: bool) -> tuple[int, int]:
    """Cut a broker's power; return how many commits were acknowledged and how many are lost."""
    acknowledged: list[StoredCommit] = []
    broker = NatsServer(disk.path, sync_always=sync_always)
    broker.start()
    try:
        async with connect(broker.url, "writers") as connection:
            await ensure_stream(connection, NAME, StreamSettings(max_bytes=64 * 1024**2))
            # So that only the commits are at stake.
            disk.sync()

            async def write(number: int) -> None:
                writer = Writer("gateway", f"writer-{number}")
                log = JetStreamLog(connection, NAME, writer, append_deadline_s=2)
                while True:
                    data = os.urandom(1_000)
                    sequence = await log.append(data)
                    acknowledged.append(StoredCommit(sequence, writer, data))

            def cut() -> None:
                fail(disk, broker.pid)
                broker.kill()

            await in_mid_load(write, acknowledged, cut)
        disk.back()
        broker.start()
        return len(acknowledged), await missing(broker, acknowledged)
    finally:
        broker.stop()


async def missing(broker: NatsServer, acknowledged: list[StoredCommit]) -> int:
    async with connect(broker.url, "reader") as connection:
        log = JetStreamLog(connection, NAME, Writer("gateway", "reader"))
        there: dict[int, StoredCommit] = {}
        try:
            async for batch in log.read(1, await log.last_sequence()):
                there |= {commit.sequence: commit for commit in batch}
        except (ApiError, LogUnavailableError):
            assert not there, "a part of the log that ends in an error"
        return sum(there.get(commit.sequence) != commit for commit in acknowledged)


async def test_a_broker_that_syncs_always_loses_nothing(disk: Disk, report_figures: Report) -> None:
    acknowledged, lost = await lost_by_the_broker(disk, sync_always=True)
    report_figures("broker, sync always", f"{acknowledged} acknowledged, {lost} lost")
    assert lost == 0


async def test_a_broker_with_its_default_interval_does(disk: Disk, report_figures: Report) -> None:
    """The proof that the test sees a loss when there is one."""
    acknowledged, lost = await lost_by_the_broker(disk, sync_always=False)
    report_figures("broker, default interval", f"{acknowledged} acknowledged, {lost} lost")
    assert lost > 0


async def lost_by_the_database(disk: Disk, *options: str) -> tuple[int, int]:
    """Cut a database's power; return how many rows were acknowledged and how many are lost."""
    acknowledged: list[int] = []
    database = DatabaseOnDisk(disk.path / "data", *options)
    database.start()
    try:
        connections = [await database.connect() for _ in range(WRITERS)]
        await connections[0].execute("CREATE TABLE kept (number integer PRIMARY KEY, filler text)")
        await connections[0].execute("CHECKPOINT")
        disk.sync()

        async def write(writer: int) -> None:
            for number in count(writer, WRITERS):
                await connections[writer].execute(
                    "INSERT INTO kept VALUES ($1, repeat('x', 500))", number
                )
                acknowledged.append(number)

        def cut() -> None:
            fail(disk, database.pid)
            database.ended()

        async def until_cut(writer: int) -> None:
            try:
                await write(writer)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                # Told by the database, in its last moment, that the disk is gone.
                return

        await in_mid_load(until_cut, acknowledged, cut)
        for connection in connections:
            connection.terminate()
        disk.back()
        database.start()
        return len(acknowledged), len(set(acknowledged) - await kept_rows(database))
    finally:
        database.stop()


async def kept_rows(database: DatabaseOnDisk) -> set[int]:
    try:
        connection = await database.connect()
    except ConnectionError:
        return set()
    try:
        return {row[0] for row in await connection.fetch("SELECT number FROM kept")}
    except asyncpg.PostgresError:
        return set()
    finally:
        connection.terminate()


async def test_a_database_loses_nothing(disk: Disk, report_figures: Report) -> None:
    acknowledged, lost = await lost_by_the_database(disk)
    report_figures("database", f"{acknowledged} acknowledged, {lost} lost")
    assert lost == 0


async def test_a_database_that_does_not_sync_does(disk: Disk, report_figures: Report) -> None:
    acknowledged, lost = await lost_by_the_database(disk, "fsync=off")
    report_figures("database, fsync off", f"{acknowledged} acknowledged, {lost} lost")
    assert lost > 0


def test_a_whole_system_loses_its_power(disk: Disk, report_figures: Report) -> None:
    with chaos_system(data_dir=disk.path / "data") as system:
        record = new_record(system)
        users: list[str] = []
        with command_load(system, record, "job", pace_s=0.05) as load:
            for share in (0.25, 0.6):
                load.reach(share)
                users += register_some(system, len(users))
                position = asyncio.run(ledger_position(system.state["database"]))
                lose_power(system, disk)
                assert asyncio.run(ledger_position(system.state["database"])) >= position > 0
            load.finish()
        verdict = judge(system, record)
        with grpc_admin(system) as admin:
            for name in users:
                admin.sign_in(name, f"password of {name}")
    report_figures("whole system, twice", verdict)


def register_some(system: FogUp, known: int) -> list[str]:
    """Register users, who are kept in the database alone, and return their names."""
    names = [f"user-{number}" for number in range(known, known + 5)]
    with grpc.insecure_channel(system.grpc) as channel:
        user = GrpcUser(channel)
        for name in names:
            user.call(
                user.identity.Register,
                identity_service_pb2.RegisterRequest(username=name, password=f"password of {name}"),
            )
    return names
