"""The supervisor with a real broker and database, and stubs in place of the services."""

import os
import signal
import socket
import sys
from collections.abc import Generator
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import pytest

from fogbank.local.process_identity import identify
from tests.support.fog_up import FogUp, temporary_data_dir
from tests.support.ports import free_port
from tests.support.waiting import eventually, eventually_sync

# One system serves most of these tests.
pytestmark = pytest.mark.xdist_group("supervisor")

PARTS = ("gateway-1", "scheduler-1", "ledger-1", "nats", "postgres", "agent-store-east-1")


def stub_up(data_dir: Path, nodes: int = 2, **env: str) -> FogUp:
    return FogUp(
        data_dir,
        command=(sys.executable, "-m", "tests.support.stub_system", str(data_dir), str(nodes)),
        env=env,
    )


@pytest.fixture
def data_dir() -> Generator[Path]:
    with temporary_data_dir() as path:
        yield path


@pytest.fixture(scope="module")
def system() -> Generator[FogUp]:
    with temporary_data_dir() as path:
        running = stub_up(path)
        try:
            running.start()
            yield running
        finally:
            running.end()


async def query(system: FogUp, text: str) -> object:
    """Return the query's first value, as soon as the database answers."""
    url = system.state["database"].replace("+asyncpg", "")

    async def connection() -> "asyncpg.Connection[asyncpg.Record] | None":
        try:
            return await asyncpg.connect(url, timeout=30)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return None

    connected = await eventually(connection, what="the database's answer")
    assert connected is not None
    try:
        return await connected.fetchval(text)
    finally:
        await connected.close()


def all_gone(pids: list[int]) -> None:
    eventually_sync(lambda: not [pid for pid in pids if identify(pid)], what="the end of all")


def test_tells_where_everything_is(system: FogUp) -> None:
    state = system.state
    assert state["ready"] is True
    assert set(state["pids"]) == {*PARTS, "supervisor", "agent-gpu-west-1"}
    assert state["admin_user"] == "admin"
    assert state["admin_password"]
    assert (system.data_dir / "state.json").stat().st_mode & 0o777 == 0o600


def test_secrets_are_for_their_owner_alone(system: FogUp) -> None:
    files = list((system.data_dir / "secrets").iterdir())
    assert len(files) == 11
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_uid for path in files} == {os.geteuid()}


def test_the_broker_syncs_always_and_wants_a_password(system: FogUp) -> None:
    config = (system.data_dir / "nats" / "nats-server.conf").read_text()
    assert "sync_interval: always" in config
    host, _, port = system.state["nats"].rpartition("@")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
        received = b""
        while b"Authorization Violation" not in received:
            data = connection.recv(4096)
            assert data, received
            received += data


async def test_the_database_wants_a_password(system: FogUp) -> None:
    assert await query(system, "SELECT current_database()") == "fogbank"
    url = system.state["database"].replace("+asyncpg", "")
    before, _, after = url.rpartition("@")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"{before}x@{after}", timeout=60)


@pytest.mark.parametrize("part", PARTS)
def test_what_dies_is_back_within_a_moment(system: FogUp, part: str) -> None:
    former = system.kill_child(part)
    fresh = system.back(part, former, timeout_s=120)
    assert identify(fresh)
    assert f"{part} ended (signal SIGKILL)" in system.errors


async def test_the_database_keeps_its_data_over_a_kill(system: FogUp) -> None:
    await query(system, "CREATE TABLE kept (x int)")
    await query(system, "INSERT INTO kept VALUES (7)")
    system.back("postgres", system.kill_child("postgres"))
    assert await query(system, "SELECT x FROM kept") == 7


def test_another_one_on_the_same_data_is_refused(system: FogUp) -> None:
    second = stub_up(system.data_dir)
    second._errors = system.data_dir.parent / "second.stderr"
    second._answer = system.data_dir.parent / "second.stdout"
    second.launch()
    assert second.process.wait(60) == 1
    assert f"in use by another `fog up` (process {system.process.pid})" in second.errors


def test_stops_everything_at_either_signal_and_carries_on_later(system: FogUp) -> None:
    """The shared system's last tests begin here: they leave it ended."""
    before = system.state
    pids = list(before["pids"].values())
    assert system.stop(signal.SIGINT) == 0
    assert not [pid for pid in pids if identify(pid)]
    assert system.state["ready"] is False
    after = system.start()
    same = ("grpc", "http", "nats", "database", "admin_password")
    assert {key: before[key] for key in same} == {key: after[key] for key in same}
    pids = list(after["pids"].values())
    assert system.stop(signal.SIGTERM) == 0
    assert not [pid for pid in pids if identify(pid)]
    assert system.state["ready"] is False


def test_a_second_signal_ends_it_by_force(system: FogUp) -> None:
    if not system.running:
        system.start()
    pids = list(system.state["pids"].values())
    gateway = system.pid("gateway-1")
    os.kill(system.pid("nats"), signal.SIGSTOP)  # would keep a polite stop waiting
    system.process.send_signal(signal.SIGINT)
    eventually_sync(lambda: not identify(gateway), what="the stop to begin")
    assert system.stop(signal.SIGINT, timeout_s=60) == 130
    all_gone(pids)


@pytest.mark.kill
@pytest.mark.parametrize("everything", [False, True])
def test_carries_on_after_a_sigkill(data_dir: Path, everything: bool) -> None:
    system = stub_up(data_dir)
    pids = list(system.start()["pids"].values())
    if everything:
        system.kill_all()
    else:
        system.kill_supervisor()
    all_gone(pids)
    system.start()
    try:
        with urlopen(f"{system.http}/readiness", timeout=30) as answer:  # noqa: S310
            assert answer.status == 200
    finally:
        system.end()


def test_a_signal_during_the_start_stops_it(data_dir: Path) -> None:
    system = stub_up(data_dir)
    system.launch()
    eventually_sync((data_dir / "lock").exists, what="the start to begin")
    assert system.stop(signal.SIGTERM) == 0


@pytest.mark.slow
def test_a_service_that_ends_at_once_is_reported_with_its_log(data_dir: Path) -> None:
    system = stub_up(data_dir, FOG_STUB_FAIL="scheduler")
    system.launch()
    assert system.process.wait(60) == 1
    assert "scheduler-1 ends again and again" in system.errors
    assert "ERROR no luck today" in system.errors


def test_a_port_that_is_taken_is_named(data_dir: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        system = stub_up(data_dir, STUB_GRPC_PORT=str(port))
        system.launch()
        assert system.process.wait(60) == 1
    assert f"port {port} on 127.0.0.1 is taken" in system.errors
    assert "--grpc-port" in system.errors


def test_uses_a_broker_and_a_database_that_are_given(data_dir: Path) -> None:
    nats, database = f"nats://127.0.0.1:{free_port()}", "postgresql+asyncpg://there/db"
    system = stub_up(data_dir, FOG_NATS_URL=nats, DATABASE_URL=database)
    ready = system.start()
    try:
        assert not {"nats", "postgres"} & set(ready["pids"])
        assert (ready["nats"], ready["database"]) == (nats, database)
        environment = Path(f"/proc/{system.pid('ledger-1')}/environ").read_text().split("\0")
        assert f"FOG_NATS_URL={nats}" in environment
        assert f"DATABASE_URL={database}" in environment
    finally:
        system.end()
