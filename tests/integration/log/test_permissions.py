"""Each service's user of the broker may do what its service needs, and nothing else."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Generator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import nats.errors
import pytest
from google.protobuf.message import DecodeError

from fogbank.log.broker_config import BROKER_USERS
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsConnection, NatsCredentials, connect
from fogbank.log.port import LogPermissionError, Writer
from fogbank.log.stream import StreamName, StreamSettings, api_request, ensure_stream
from fogbank.v1 import log_pb2
from services.gateway.adapters.telemetry import heard_heartbeats
from services.gateway.app.ports import HeardHeartbeat
from services.scheduler.adapters.telemetry import NatsAnswers
from tests.support.broker_users import as_user, guarded_broker, password_of
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

NAME = StreamName("default")
SMALL = StreamSettings(max_bytes=8 * 1024**2)
# All but the operator.
SERVICES = BROKER_USERS[1:]


@pytest.fixture(scope="module")
def broker() -> Generator[NatsServer]:
    async def make_stream(url: str) -> None:
        async with connect(url, "setup", as_user("operator")) as connection:
            assert await ensure_stream(connection, NAME, SMALL)

    with guarded_broker(NAME) as server:
        asyncio.run(make_stream(server.url))
        yield server


@asynccontextmanager
async def signed_in(broker: NatsServer, user: str) -> AsyncIterator[NatsConnection]:
    async with connect(broker.url, user, as_user(user)) as connection:
        yield connection


async def written(broker: NatsServer) -> dict[str, int]:
    """Return how many commits lie on each subject of the stream."""
    async with signed_in(broker, "operator") as operator:
        info = await api_request(
            operator, f"STREAM.INFO.{NAME.stream}", {"subjects_filter": NAME.prefix + ">"}
        )
    subjects: dict[str, int] = info["state"].get("subjects", {})
    return subjects


@pytest.mark.parametrize("user", ["gateway", "scheduler"])
async def test_a_writer_appends_and_reads(broker: NatsServer, user: str) -> None:
    async with signed_in(broker, user) as connection:
        assert not await ensure_stream(connection, NAME, SMALL)
        log = JetStreamLog(connection, NAME, Writer(user, "one"))
        sequence = await log.append(b"mine")
        assert await log.append(b"again", expected_last=sequence) == sequence + 1
        assert [c.data async for batch in log.read(sequence, sequence + 1) for c in batch] == [
            b"mine",
            b"again",
        ]


@pytest.mark.parametrize("user", SERVICES)
async def test_everybody_reads_and_follows(broker: NatsServer, user: str) -> None:
    async with signed_in(broker, "gateway") as gateway, signed_in(broker, user) as connection:
        writer = JetStreamLog(gateway, NAME, Writer("gateway", "two"))
        reader = JetStreamLog(connection, NAME, Writer(user, "reads"))
        sequence = await writer.append(b"news")
        commit = await reader.get(sequence)
        assert commit is not None
        assert commit.data == b"news"
        assert abs(await reader.clock_us() - time.time_ns() // 1_000) < 60_000_000
        async with asyncio.timeout(60):
            async for batch in reader.follow(sequence - 1):
                assert batch[0].data == b"news"
                break


async def test_many_large_commits_pass_the_flow_control(broker: NatsServer) -> None:
    async with signed_in(broker, "gateway") as gateway, signed_in(broker, "ledger") as connection:
        writer = JetStreamLog(gateway, NAME, Writer("gateway", "large"))
        first = await writer.append(b"0" * 100_000)
        for number in range(1, 40):
            await writer.append(str(number).encode() * 50_000)
        reader = JetStreamLog(connection, NAME, Writer("ledger", "reads"))
        async with asyncio.timeout(60):
            read = [commit async for batch in reader.read(first, first + 39) for commit in batch]
        assert [commit.sequence for commit in read] == list(range(first, first + 40))


@pytest.mark.parametrize(
    ("user", "service"),
    [
        ("gateway", "scheduler"),
        ("scheduler", "gateway"),
        ("ledger", "scheduler"),
        ("ledger", "gateway"),
        ("ledger", "ledger"),
        ("checker", "scheduler"),
        ("checker", "gateway"),
        ("checker", "checker"),
    ],
)
async def test_nobody_writes_in_anothers_name(broker: NatsServer, user: str, service: str) -> None:
    async with signed_in(broker, user) as connection:
        log = JetStreamLog(connection, NAME, Writer(service, "forged"))
        with pytest.raises(LogPermissionError, match=f"user {user} publish on .*{service}.forged"):
            await log.append(b"a round, as if")
        assert connection.is_connected
    assert f"{NAME.prefix}{service}.forged" not in await written(broker)


# The stream's configuration as somebody would want it who wants to lose something.
FORGETFUL = SMALL.config(NAME) | {"max_msgs": 1, "discard": "old"}
DEEDS: list[tuple[str, dict[str, Any] | None]] = [
    (f"STREAM.UPDATE.{NAME.stream}", FORGETFUL),
    (f"STREAM.DELETE.{NAME.stream}", None),
    (f"STREAM.PURGE.{NAME.stream}", None),
    (f"STREAM.MSG.DELETE.{NAME.stream}", {"seq": 1}),
    ("STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": ["other"]}),
    (f"STREAM.SNAPSHOT.{NAME.stream}", {"deliver_subject": "x"}),
    (f"STREAM.RESTORE.{NAME.stream}", {"config": FORGETFUL}),
    (f"STREAM.LEADER.STEPDOWN.{NAME.stream}", None),
    (f"CONSUMER.DURABLE.CREATE.{NAME.stream}.keeps", {"stream_name": NAME.stream, "config": {}}),
    (f"CONSUMER.DELETE.{NAME.stream}.anothers", None),
    (f"DIRECT.GET.{NAME.stream}", {"seq": 1}),
    (f"CONSUMER.MSG.NEXT.{NAME.stream}.any", None),
    ("INFO", None),
]


@pytest.mark.parametrize("user", SERVICES)
@pytest.mark.parametrize(("endpoint", "body"), DEEDS, ids=[endpoint for endpoint, _ in DEEDS])
async def test_only_the_operator_touches_the_stream(
    broker: NatsServer, user: str, endpoint: str, body: dict[str, Any] | None
) -> None:
    async with signed_in(broker, user) as connection:
        with pytest.raises(LogPermissionError, match="does not let the user"):
            await api_request(connection, endpoint, body)
        assert connection.is_connected


async def test_the_operator_may(broker: NatsServer) -> None:
    other = StreamName("doomed")
    async with signed_in(broker, "operator") as operator:
        await ensure_stream(operator, other, SMALL)
        await api_request(operator, f"STREAM.UPDATE.{other.stream}", SMALL.config(other))
        await api_request(operator, f"STREAM.DELETE.{other.stream}")


@pytest.mark.parametrize("user", SERVICES)
async def test_nobody_listens_at_anothers_inbox(broker: NatsServer, user: str) -> None:
    async with signed_in(broker, user) as connection, signed_in(broker, "operator") as operator:
        taken: list[bytes] = []

        async def take(message: Any) -> None:
            taken.append(message.data)

        for subject in ("_INBOX.>", "_INBOX_operator.>", f"{NAME.prefix}>", ">"):
            await connection.client.subscribe(subject, cb=take)
        await connection.client.flush()
        for subject in ("_INBOX_operator.x", "_INBOX.x", f"{NAME.prefix}gateway.operators"):
            await operator.client.publish(subject, b"not yours")
        await operator.client.flush()
        await connection.client.flush()
        assert not taken


async def test_signs_of_life_go_from_gateway_to_scheduler(broker: NatsServer) -> None:
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(signed_in(broker, "gateway"))
        ledger = await stack.enter_async_context(signed_in(broker, "ledger"))
        scheduler = await stack.enter_async_context(signed_in(broker, "scheduler"))
        heard: list[bytes] = []

        async def take(message: Any) -> None:
            heard.append(message.data)

        await scheduler.client.subscribe("fogbank.telemetry.default.*", cb=take)
        await scheduler.client.flush()
        for connection in (ledger, scheduler):
            await connection.client.publish("fogbank.telemetry.default.node", b"false")
            await connection.client.flush()
        await gateway.client.publish("fogbank.telemetry.default.node", b"true")

        async def arrived() -> bool:
            return bool(heard)

        await eventually(arrived)
        assert heard == [b"true"]


async def test_what_schedulers_heard_goes_to_gateways(broker: NatsServer) -> None:
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(signed_in(broker, "gateway"))
        ledger = await stack.enter_async_context(signed_in(broker, "ledger"))
        scheduler = await stack.enter_async_context(signed_in(broker, "scheduler"))
        told: list[tuple[str, list[HeardHeartbeat]]] = []

        def take(instance: str, heartbeats: Iterable[HeardHeartbeat]) -> None:
            told.append((instance, list(heartbeats)))

        await stack.enter_async_context(heard_heartbeats(gateway, "default", take))
        await gateway.client.flush()
        for connection in (ledger, gateway):
            await connection.client.publish("fogbank.heard.default", b"")
            await connection.client.flush()
        await scheduler.client.publish("fogbank.heard.default", b"nonsense")
        await NatsAnswers(scheduler, "default").publish("one", [("node", 5, 7)])

        async def arrived() -> bool:
            return bool(told)

        await eventually(arrived)
        assert told == [("one", [HeardHeartbeat("node", 5, 7)])]


async def test_errands_are_between_gateways(broker: NatsServer) -> None:
    subject = "fogbank.errands.default.node.x"
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(signed_in(broker, "gateway")) for _ in "ab"]
        heard: list[bytes] = []

        async def take(message: Any) -> None:
            heard.append(message.data)

        async def overhear(message: Any) -> None:
            heard.append(b"overheard " + message.data)

        await gateways[0].client.subscribe(subject, cb=take)
        for user in ("scheduler", "ledger", "checker"):
            other = await stack.enter_async_context(signed_in(broker, user))
            await other.client.subscribe("fogbank.errands.default.>", cb=overhear)
            await other.client.publish(subject, user.encode())
            await other.client.flush()

        async def arrived() -> bool:
            await gateways[1].client.publish(subject, b"gateway")
            return bool(heard)

        await eventually(arrived, what="what the gateway said")
        assert set(heard) == {b"gateway"}


@pytest.mark.parametrize("user", SERVICES)
async def test_the_broker_is_no_forger(broker: NatsServer, user: str) -> None:
    """A reply subject may be anything, so the broker can be made to answer into the log.

    That puts its own words there, which are no commit; readers stop at them and name the writer.
    What must not happen is that it repeats bytes which the user chose.
    """
    victim = f"{NAME.prefix}scheduler.victim-of-{user}"
    async with signed_in(broker, "operator") as operator, signed_in(broker, user) as connection:
        chosen = b"\x08\x01 chosen"
        bait = JetStreamLog(operator, NAME, Writer("gateway", "bait"))
        sequence = await bait.append(chosen + user.encode())
        for endpoint in ("MSG.GET", "INFO"):
            await connection.client.publish(
                f"$JS.API.STREAM.{endpoint}.{NAME.stream}",
                json.dumps({"seq": sequence} if endpoint == "MSG.GET" else {}).encode(),
                reply=victim,
            )
        for endpoint in ("DIRECT.GET", "CONSUMER.MSG.NEXT"):
            await connection.client.publish(
                f"$JS.API.{endpoint}.{NAME.stream}",
                json.dumps({"seq": sequence}).encode(),
                reply=victim,
            )
        answer = await connection.request(
            f"$JS.API.CONSUMER.CREATE.{NAME.stream}",
            json.dumps(
                {
                    "stream_name": NAME.stream,
                    "config": {"deliver_subject": victim, "ack_policy": "none"},
                }
            ).encode(),
            timeout_s=60,
        )
        assert "cycle" in json.loads(answer.data)["error"]["description"]
        last = await bait.last_sequence()
        stored = [c async for batch in bait.read(sequence + 1, last) for c in batch]
    for commit in stored:
        assert commit.data.startswith(b'{"type":"io.nats.')
        with pytest.raises(DecodeError):
            log_pb2.Commit.FromString(commit.data)


async def test_a_consumer_cannot_be_aimed_at_the_api(broker: NatsServer) -> None:
    async with signed_in(broker, "gateway") as gateway, signed_in(broker, "operator") as operator:
        log = JetStreamLog(gateway, NAME, Writer("gateway", "aims"))
        sequence = await log.append(json.dumps(FORGETFUL).encode())
        await api_request(
            gateway,
            f"CONSUMER.CREATE.{NAME.stream}",
            {
                "stream_name": NAME.stream,
                "config": {
                    "deliver_subject": f"$JS.API.STREAM.UPDATE.{NAME.stream}",
                    "deliver_policy": "by_start_sequence",
                    "opt_start_seq": sequence,
                    "ack_policy": "none",
                },
            },
        )
        # What the consumer had to deliver would have come before this answer.
        await log.append(b"later")
        info = await api_request(operator, f"STREAM.INFO.{NAME.stream}")
        assert info["config"]["max_msgs"] == -1
        assert info["config"]["discard"] == "new"


async def test_a_missing_stream_is_said_to_be_the_operators() -> None:
    with guarded_broker(NAME) as fresh:
        async with signed_in(fresh, "gateway") as gateway:
            with pytest.raises(LogPermissionError, match=r"fogbank\.log\.setup") as caught:
                await ensure_stream(gateway, NAME, SMALL)
            assert "FOGBANK_default_1" in str(caught.value)


async def test_a_wrong_password_is_said_at_once(broker: NatsServer) -> None:
    with pytest.raises(LogPermissionError, match="refuses the user gateway") as caught:
        async with connect(broker.url, "x", NatsCredentials(user="gateway", password="guessed")):
            pass
    assert "guessed" not in str(caught.value)


async def test_nobody_is_let_in_without_a_user(broker: NatsServer) -> None:
    with pytest.raises(LogPermissionError, match="without a name"):
        async with connect(broker.url, "x"):
            pass


async def test_a_user_without_an_inbox_is_told_so(broker: NatsServer) -> None:
    async with connect(broker.url, "x", as_user("gateway")) as connection:
        connection.client._inbox_prefix = bytearray(b"_INBOX_ledger")
        connection._inbox = "_INBOX_ledger."
        with pytest.raises(LogPermissionError, match="receive answers on _INBOX_ledger"):
            await api_request(connection, f"STREAM.INFO.{NAME.stream}")


async def test_a_denial_is_no_answer_to_somebody_else(broker: NatsServer) -> None:
    async with connect(broker.url, "x", as_user("gateway")) as connection:
        log = JetStreamLog(connection, NAME, Writer("gateway", "busy"))
        async with asyncio.TaskGroup() as group:
            good = [group.create_task(log.append(str(n).encode())) for n in range(20)]
            with pytest.raises(LogPermissionError):
                await api_request(connection, f"STREAM.PURGE.{NAME.stream}")
        assert len({task.result() for task in good}) == 20
        with pytest.raises((nats.errors.Error, TimeoutError)):
            await connection.request("fogbank.telemetry.default.x", b"", timeout_s=0.1)


async def test_whoever_is_thrown_out_ends_with_a_reason() -> None:
    with guarded_broker(NAME) as changing:
        async with signed_in(changing, "operator") as operator:
            await ensure_stream(operator, NAME, SMALL)
        async with signed_in(changing, "gateway") as gateway:
            log = JetStreamLog(gateway, NAME, Writer("gateway", "old"))
            await log.append(b"while it may")

            async def follow() -> None:
                async for _ in log.follow(0):
                    pass

            following = asyncio.create_task(follow())
            configuration = changing.folder / "server.conf"
            text = configuration.read_text()
            configuration.write_text(text.replace(password_of("gateway"), "another-password-now"))
            changing.reload()
            with pytest.raises(LogPermissionError, match="no longer takes the user gateway"):
                async with asyncio.timeout(60):
                    await following
            with pytest.raises(LogPermissionError, match="no longer takes"):
                await log.append(b"never")
