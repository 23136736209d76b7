"""The stream's settings: made right, checked at start, and refused if commits could be lost."""

from collections.abc import Generator

import pytest

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsConnection, NatsCredentials, connect
from fogbank.log.port import LogConfigurationError, LogFullError, LogUnavailableError, Writer
from fogbank.log.stream import (
    ApiError,
    StreamName,
    StreamSettings,
    api_request,
    ensure_stream,
    require_sync_always,
)
from tests.support.nats import NatsServer, nats_server
from tests.support.ports import free_port

SMALL = StreamSettings(max_bytes=1024**2)


@pytest.fixture(scope="module")
def broker() -> Generator[NatsServer]:
    with nats_server() as server:
        yield server


async def test_the_stream_is_made_once(broker: NatsServer) -> None:
    async with connect(broker.url, "test") as connection:
        assert await ensure_stream(connection, StreamName("once"), SMALL)
        assert not await ensure_stream(connection, StreamName("once"), SMALL)
        info = await api_request(connection, "STREAM.INFO.FOGBANK_once_1")
    config = info["config"]
    assert config["subjects"] == ["fogbank.log.once.1.>"]
    assert config["discard"] == "new"
    assert config["compression"] == "s2"
    assert config["max_bytes"] == 1024**2
    assert config["duplicate_window"] == 120_000_000_000
    assert config["max_age"] == 0


async def test_the_broker_refuses_to_forget(broker: NatsServer) -> None:
    async with connect(broker.url, "test") as connection:
        name = StreamName("keeps")
        await ensure_stream(connection, name, SMALL)
        log = JetStreamLog(connection, name, Writer("gateway", "one"))
        await log.append(b"for ever")
        with pytest.raises(ApiError, match="delete not permitted"):
            await api_request(connection, f"STREAM.MSG.DELETE.{name.stream}", {"seq": 1})
        with pytest.raises(ApiError, match="purge not permitted"):
            await api_request(connection, f"STREAM.PURGE.{name.stream}")
        assert await log.last_sequence() == 1


async def test_a_stream_that_forgets_is_refused(broker: NatsServer) -> None:
    async with connect(broker.url, "test") as connection:
        name = StreamName("forgets")
        config = SMALL.config(name) | {"max_age": 10**15, "deny_delete": False}
        await api_request(connection, f"STREAM.CREATE.{name.stream}", config)
        with pytest.raises(LogConfigurationError, match=r"max_age is .* deny_delete is") as caught:
            await ensure_stream(connection, name, SMALL)
        assert "nats stream edit" in str(caught.value)


async def test_a_full_log_refuses_and_keeps_its_beginning(broker: NatsServer) -> None:
    async with connect(broker.url, "test") as connection:
        name = StreamName("full")
        await ensure_stream(connection, name, StreamSettings(max_bytes=300_000))
        log = JetStreamLog(connection, name, Writer("gateway", "one"))
        await log.append(b"a" * 200_000)
        assert 0.6 < await log.fill_ratio() < 0.8
        with pytest.raises(LogFullError, match="full"):
            await log.append(b"b" * 200_000)
        first = await log.get(1)
        assert first is not None
        assert await log.last_sequence() == 1


async def test_a_later_generation_goes_on_with_the_sequence(broker: NatsServer) -> None:
    async with connect(broker.url, "test") as connection:
        name = StreamName("long", generation=2)
        await ensure_stream(connection, name, StreamSettings(1024**2, first_sequence=1001))
        log = JetStreamLog(connection, name, Writer("gateway", "one"))
        assert await log.last_sequence() == 1000
        assert await log.append(b"first of the second", expected_last=1000) == 1001
        found = [batch async for batch in log.read(1001, 1001)]
        assert [commit.sequence for commit in found[0]] == [1001]


async def test_a_broker_that_syncs_is_welcome(broker: NatsServer) -> None:
    await require_sync_always(broker.monitor_url)


async def test_a_broker_that_does_not_sync_is_refused_with_advice() -> None:
    with (
        nats_server(sync_always=False) as lax,
        pytest.raises(LogConfigurationError, match="sync_interval: always"),
    ):
        await require_sync_always(lax.monitor_url)


async def test_a_broker_without_jetstream_is_refused_with_advice() -> None:
    with (
        nats_server(jetstream=False) as plain,
        pytest.raises(LogConfigurationError, match="JetStream"),
    ):
        await require_sync_always(plain.monitor_url)


async def test_a_wrong_monitoring_address_names_the_setting() -> None:
    with pytest.raises(LogUnavailableError, match="FOG_NATS_MONITOR_URL"):
        await require_sync_always(f"http://127.0.0.1:{free_port()}")


async def test_no_broker_there_is_said_without_the_password() -> None:
    url = f"nats://user:secret@127.0.0.1:{free_port()}"
    with pytest.raises(LogUnavailableError, match="no broker answered") as caught:
        async with connect(url, "test", timeout_s=0.5):
            pass
    assert "secret" not in str(caught.value)


def test_credentials_keep_their_secrets() -> None:
    assert "hush" not in repr(NatsCredentials(user="fog", password="hush"))


async def test_a_closed_connection_answers_at_once() -> None:
    connection = NatsConnection("never opened")
    with pytest.raises(LogUnavailableError):
        await connection.wait_connected(0.01)
