"""A connection to the simulated broker, in the place of `fogbank.log.nats_connection`.

One stream of bytes each way: in order, late, held while that direction is cut, lost with the
connection. The client notices a silent broker by its pings, and dials until it is there again;
what was sent meanwhile goes out then.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from fogbank.log.port import LogUnavailableError
from tests.simulation.broker import Broker, Message
from tests.simulation.loop import Process
from tests.simulation.world import Link, require_alive

_PINGS_UNANSWERED_S = (2.0, 6.0)
_REDIAL_S = 0.25
# Timers of the same instant would come in any order.
_APART_S = 1e-6

Callback = Callable[[Message], Awaitable[None]]


class _Lane:
    """One direction."""

    def __init__(self, connection: SimConnection, *, there: bool) -> None:
        self._connection = connection
        self._there = there
        self._last_s = 0.0
        self._held: list[Callable[[], None]] = []

    def send(self, arrive: Callable[[], None]) -> None:
        """Let something happen at the other end, in its turn."""
        connection = self._connection
        world, life = connection.world, connection.life
        at_s = world.loop.time() + connection.link.delay_s()
        self._last_s = max(self._last_s + _APART_S, at_s)
        world.loop.call_at(self._last_s, self._arrive, life, arrive, context=self._context())

    def _context(self) -> Context:
        """Return in whose name things arrive: a frozen client takes nothing in."""
        connection = self._connection
        return connection.world.nowhere if self._there else connection.process.context.copy()

    def _arrive(self, life: int, arrive: Callable[[], None]) -> None:
        if life != self._connection.life:
            return
        if self._held or not self._connection.link.goes(there=self._there):
            self._held.append(arrive)
        else:
            arrive()

    def flush(self) -> None:
        """Deliver what waited for the direction to be mended."""
        connection = self._connection
        if self._held and connection.link.goes(there=self._there):
            connection.world.loop.call_soon(self._release, connection.life, context=self._context())

    def _release(self, life: int) -> None:
        if life == self._connection.life and self._connection.link.goes(there=self._there):
            held, self._held = self._held, []
            for arrive in held:
                arrive()

    def drop(self) -> None:
        """Lose what is under way."""
        self._held.clear()


class SimSubscription:
    """What a client listens to."""

    def __init__(self, connection: SimConnection, subject: str) -> None:
        self._connection = connection
        self._subject = subject

    async def unsubscribe(self) -> None:
        """Listen no more."""
        self._connection.subscriptions.pop(self._subject, None)


class SimConnection:
    """As much of `NatsConnection` as the log asks for. `life` counts how often it broke."""

    def __init__(self, broker: Broker, link: Link, process: Process) -> None:
        self.world = broker.world
        self.link = link
        self.process = process
        self.life = 0
        self.client = self
        self.subscriptions: dict[str, Callback] = {}
        self._broker = broker
        self._listeners: dict[Callable[[], None], None] = {}
        self._connected = asyncio.Event()
        self._there = _Lane(self, there=True)
        self._back = _Lane(self, there=False)
        self._unsent: list[Callable[[], None]] = []
        self._inboxes = 0
        broker.connections.append(self)
        link.on_change.append(self._link_changed)
        if broker.up and link.whole:
            self._connected.set()

    # --- what the log uses --------------------------------------------------------------------

    @contextmanager
    def on_reconnect(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` after each reconnect while the context lasts."""
        self._listeners[listener] = None
        try:
            yield
        finally:
            self._listeners.pop(listener, None)

    def add_reconnect_listener(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each reconnect."""
        self._listeners[listener] = None

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until there is a connection, as the real one does."""
        require_alive(self.process)
        if self._connected.is_set():
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            raise LogUnavailableError("no connection to the broker", retry_after_ms=1_000) from None

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: dict[str, str] | None = None,
    ) -> Message:
        """Send a message and wait for its answer."""
        require_alive(self.process)
        answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def take(data: bytes) -> None:
            if not answered.done():
                answered.set_result(Message("", data))

        def reply(answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self._back.send(lambda: take(data))

        self._send(lambda: self._broker.serve(self, subject, payload, headers or {}, reply))
        async with asyncio.timeout(timeout_s):
            message = await answered
        require_alive(self.process)
        return message

    def check_may_publish(self, prefix: str) -> None:
        """Nothing is denied here."""

    def new_inbox(self) -> str:
        """Return a subject that nobody else uses."""
        self._inboxes += 1
        return f"_INBOX.{self.process.name}.{self._inboxes}"

    async def subscribe(self, subject: str, cb: Callback, **_: int) -> SimSubscription:
        """Have `cb` called with what comes on a subject."""
        require_alive(self.process)
        self.subscriptions[subject] = cb
        return SimSubscription(self, subject)

    async def publish(self, subject: str) -> None:
        """Send a message that nobody answers."""
        require_alive(self.process)
        self._send(lambda: self._broker.serve(self, subject, b"", {}, _nobody))

    # --- what the broker uses -----------------------------------------------------------------

    def listens(self, subject: str, life: int) -> bool:
        """Tell whether somebody takes what is pushed."""
        return self.process.alive and life == self.life and subject in self.subscriptions

    def push(self, subject: str, message: Message) -> None:
        """Send something to a subscription."""
        self._back.send(lambda: self._take(subject, message))

    def broker_gone(self) -> None:
        """Find the connection broken."""
        self._break()

    def dial(self) -> None:
        """Connect again, a moment later, if there is a way."""
        if not self._connected.is_set():
            delay_s = self.link.uniform(0.0, _REDIAL_S)
            self.world.loop.call_later(
                delay_s, self._reconnect, context=self.process.context.copy()
            )

    # --- inside -------------------------------------------------------------------------------

    def _send(self, arrive: Callable[[], None]) -> None:
        if self._connected.is_set():
            self._there.send(arrive)
        else:
            self._unsent.append(arrive)

    def _take(self, subject: str, message: Message) -> None:
        callback = self.subscriptions.get(subject)
        if callback is None or not self.process.alive:
            return
        try:
            callback(message).__await__().send(None)
        except StopIteration:
            return
        raise AssertionError("a callback that waits would let messages overtake each other")

    def _link_changed(self) -> None:
        if not self.process.alive:
            return
        if self.link.whole:
            self._there.flush()
            self._back.flush()
            self.dial()
        else:
            self.world.later(self.link.uniform(*_PINGS_UNANSWERED_S), self._ping, self.life)

    def _ping(self, life: int) -> None:
        if life == self.life and not self.link.whole:
            self._break()

    def _break(self) -> None:
        self.life += 1
        self._connected.clear()
        self._there.drop()
        self._back.drop()

    def _reconnect(self) -> None:
        if self._connected.is_set() or not (self._broker.up and self.link.whole):
            return
        if not self.process.alive:
            return
        self._connected.set()
        unsent, self._unsent = self._unsent, []
        for arrive in unsent:
            self._there.send(arrive)
        for listener in tuple(self._listeners):
            listener()


def _nobody(_: dict[str, Any]) -> None:
    """Take an answer that nobody waits for."""
