"""The surroundings of a log under test: how to get handles, and how to make things go wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.nats_connection import NatsCredentials, connect
from fogbank.log.port import EventLog, LogUnavailableError, Writer
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream
from tests.simulation.broker import STREAM, Broker
from tests.simulation.connection import SimConnection
from tests.simulation.loop import Process
from tests.simulation.world import World as Surroundings
from tests.support.broker_users import as_user, guarded_broker
from tests.support.fault_proxy import fault_proxy
from tests.support.nats import NatsServer
from tests.support.waiting import eventually


class World(Protocol):
    """What the suite needs from an adapter's surroundings."""

    async def handle(self, instance: str = "one", service: str = "gateway") -> EventLog:
        """Return another writer's handle on the same log."""

    async def append_losing_the_answer(self, log: EventLog, data: bytes) -> int | None:
        """Append so that the commit is stored and the answer is lost.

        Returns the sequence if the adapter found out by itself, None if it raised
        LogUnavailableError.
        """

    async def go_down(self) -> None:
        """End the log's engine without warning."""

    async def come_back(self) -> None:
        """Start the engine again on the same data, in the same place."""


class MemoryWorld:
    def __init__(self) -> None:
        self.store = MemoryStore()

    async def handle(self, instance: str = "one", service: str = "gateway") -> EventLog:
        return MemoryLog(self.store, Writer(service, instance))

    async def append_losing_the_answer(self, log: EventLog, data: bytes) -> int | None:
        self.store.lose_acks = 1
        try:
            return await log.append(data)
        except LogUnavailableError:
            return None

    async def go_down(self) -> None:
        self.store.available = False

    async def come_back(self) -> None:
        self.store.available = True
        self.store.wake()


class JetStreamWorld:
    def __init__(
        self,
        server: NatsServer,
        name: StreamName,
        stack: AsyncExitStack,
        credentials: Callable[[str], NatsCredentials] = lambda _: NatsCredentials(),
    ) -> None:
        self._server = server
        self._name = name
        self._stack = stack
        self._credentials = credentials

    async def handle(self, instance: str = "one", service: str = "gateway") -> EventLog:
        return await self._handle(self._server.url, Writer(service, instance))

    async def _handle(self, url: str, writer: Writer) -> JetStreamLog:
        connection = await self._stack.enter_async_context(
            connect(url, writer.instance, self._credentials(writer.service))
        )
        return JetStreamLog(connection, self._name, writer, append_deadline_s=4)

    async def append_losing_the_answer(self, log: EventLog, data: bytes) -> int | None:
        before = await log.last_sequence()

        async def stored() -> bool:
            return await log.last_sequence() > before

        async with (
            fault_proxy("127.0.0.1", self._server.port) as proxy,
            connect(
                f"nats://127.0.0.1:{proxy.port}", "unlucky", self._credentials(log.writer.service)
            ) as connection,
        ):
            unlucky = JetStreamLog(connection, self._name, log.writer, append_deadline_s=4)
            await unlucky.last_sequence()  # the client's reply subject exists from here on
            proxy.swallow_answers = True
            async with asyncio.TaskGroup() as group:
                task = group.create_task(unlucky.append(data))
                await eventually(stored)
                proxy.cut()
            return task.result()

    async def go_down(self) -> None:
        self._server.kill()

    async def come_back(self) -> None:
        self._server.start()


@asynccontextmanager
async def jetstream_world(server: NatsServer, fleet: str) -> AsyncIterator[JetStreamWorld]:
    name = StreamName(fleet)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connect(server.url, "setup"))
        await ensure_stream(connection, name, StreamSettings(max_bytes=64 * 1024**2))
        yield JetStreamWorld(server, name, stack)


@asynccontextmanager
async def guarded_world(fleet: str) -> AsyncIterator[JetStreamWorld]:
    """As `jetstream_world`, on a broker of its own that gives each service its rights and no more.

    A handle's service is its user. The operator made the stream.
    """
    name = StreamName(fleet)
    with guarded_broker(name) as server:
        async with connect(server.url, "setup", as_user("operator")) as connection:
            await ensure_stream(connection, name, StreamSettings(max_bytes=64 * 1024**2))
        async with AsyncExitStack() as stack:
            yield JetStreamWorld(server, name, stack, as_user)


class SimulatedWorld:
    """The production adapter on the simulation's broker, in real time."""

    def __init__(self) -> None:
        loop: Any = asyncio.get_running_loop()
        self._surroundings = Surroundings(1, loop)
        self._broker = Broker(self._surroundings, window_s=120.0)

    async def handle(self, instance: str = "one", service: str = "gateway") -> EventLog:
        link = self._surroundings.link(instance, "broker")
        connection: Any = SimConnection(self._broker, link, Process(instance))
        return JetStreamLog(connection, STREAM, Writer(service, instance), append_deadline_s=4)

    async def append_losing_the_answer(self, log: EventLog, data: bytes) -> int | None:
        self._surroundings.noise.ack_lost = 1.0
        try:
            return await log.append(data)
        except LogUnavailableError:
            return None
        finally:
            self._surroundings.noise.clear()

    async def go_down(self) -> None:
        self._broker.go_down()

    async def come_back(self) -> None:
        self._broker.come_back()
