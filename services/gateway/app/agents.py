"""The streams of node agents: shaking hands, taking reports in, sending assignments out.

A session sends nothing on its own account. It is woken when the fold touched its node, compares
what the node is to do with what it was told, and sends the difference; so nothing queues up behind
a slow agent, and a thousand idle streams cost next to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from uuid import uuid4

import structlog
from prometheus_client import Gauge

from fogbank.domain.errands import Errand
from fogbank.domain.errors import AbortedError, AlreadyExistsError, UnavailableError
from fogbank.domain.position import pack
from fogbank.runtime.crash_points import crash_point
from services.gateway.app.agent_session import AgentPorts, AgentSession
from services.gateway.app.fold import Batch
from services.gateway.app.handshakes import Handshakes
from services.gateway.app.node_pace import NodePace
from services.gateway.app.ports import HeardHeartbeat
from services.gateway.core.agent_events import connected
from services.gateway.core.agent_messages import Welcome
from services.gateway.core.hello import Hello, check_hello, check_identity
from services.gateway.core.join_refusals import removed

_log = structlog.get_logger(__name__)

_STREAMS = Gauge("fog_gateway_agent_streams", "Streams of node agents that are open.")
_RETRY_HINT_MS = 1_000


class Agents:
    """All agents that are connected to this gateway.

    `running` must be entered before sessions are opened.
    """

    def __init__(self, ports: AgentPorts, handshakes: Handshakes | None = None) -> None:
        """Shake hands with as many at a time as there are places."""
        self.handshakes = handshakes or Handshakes()
        self._pace = NodePace(ports.appender, ports.clock)
        self._ports = replace(ports, appender=self._pace)
        self._fold = ports.fold
        self._sessions: dict[str, AgentSession] = {}
        self._greeting: dict[str, str] = {}
        self._draining = ""

    @property
    def count(self) -> int:
        """How many agents have a stream here."""
        return len(self._sessions)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen to the fold while the context lasts."""
        with self._fold.listen(self._on_batch):
            yield

    def _on_batch(self, batch: Batch) -> None:
        for node_id in sorted(batch.nodes):  # in an order that every run repeats
            session = self._sessions.get(node_id)
            if session is not None:
                session.wake()

    def heard(self, instance: str, heartbeats: Iterable[HeardHeartbeat]) -> None:
        """Pass on which heartbeats a scheduler heard.

        It counts only if that scheduler wrote the last round that this gateway knows of: who no
        longer leads must not make agents believe that they are heard.
        """
        if instance != self._fold.leader:
            return
        for each in heartbeats:
            session = self._sessions.get(each.node_id)
            if session is not None:
                session.heard(each.epoch, each.number)

    def send(self, node_id: str, errand: Errand) -> bool:
        """Send a node's agent on an errand; False if it has no stream here."""
        session = self._sessions.get(node_id)
        if session is None or not session.is_current:
            return False
        session.send(errand)
        return True

    async def turn(self, node_id: str) -> None:
        """Wait until a node may say one thing more."""
        await self._pace.message(node_id)

    def drain(self, reason: str) -> None:
        """Send all agents elsewhere, and take no new ones."""
        self._draining = reason
        for session in tuple(self._sessions.values()):
            session.drain(reason)

    @asynccontextmanager
    async def session(
        self, hello: Hello, trusted_until_us: int | None = None
    ) -> AsyncIterator[AgentSession]:
        """Shake hands, and keep the session while the context lasts.

        It ends at `trusted_until_us`, the end of the node's certificate, unless that is renewed.

        Raises:
            InvalidArgumentError: the message makes no sense.
            AlreadyExistsError: another node has the name.
            FailedPreconditionError: a copied identity.
            ResourceExhaustedError: too many shake hands already, or this one too often.
            UnavailableError: the log is down, or this gateway is going away.
        """
        check_hello(hello)
        self._require_open()
        check_identity(self._fold.fleet, hello, self._fold.nodes_named(hello.name))
        with self._name(hello):
            async with self.handshakes.place():
                welcome = await self._connect(hello)
        session = AgentSession(hello, welcome, self._ports, trusted_until_us)
        self._require_open()
        self._sessions[hello.node_id] = session
        _log.info("node connected", node=hello.node_id, name=hello.name, epoch=welcome.epoch)
        with _STREAMS.track_inprogress():
            try:
                yield session
            finally:
                if self._sessions.get(hello.node_id) is session:
                    del self._sessions[hello.node_id]
                _log.info("node disconnected", node=hello.node_id, name=hello.name)

    def _require_open(self) -> None:
        if self._draining:
            raise UnavailableError(self._draining, reason="DRAINING", retry_after_ms=_RETRY_HINT_MS)

    @contextmanager
    def _name(self, hello: Hello) -> Iterator[None]:
        """Hold a name while its handshake is under way: the log doesn't have it yet."""
        if self._greeting.get(hello.name, hello.node_id) != hello.node_id:
            raise AlreadyExistsError(
                f"another node is called {hello.name!r}", reason="NODE_NAME_TAKEN"
            )
        self._greeting[hello.name] = hello.node_id
        try:
            yield
        finally:
            self._greeting.pop(hello.name, None)

    async def _connect(self, hello: Hello) -> Welcome:
        envelope = connected(hello, str(uuid4()), self._ports.clock.now_us())
        crash_point("gateway.before-connection-append")
        sequence, index = await self._pace.append_at_once([envelope])
        crash_point("gateway.after-connection-append")
        try:
            async with asyncio.timeout(self._ports.fold_timeout_s):
                await self._fold.reached(sequence)
        except TimeoutError:
            raise UnavailableError(
                "this gateway cannot read the log", retry_after_ms=_RETRY_HINT_MS
            ) from None
        facts = self._fold.fleet.facts
        node = facts.nodes.get(hello.node_id)
        epoch = pack(sequence, index)
        if node is None:
            raise removed(hello.node_id, hello.name)
        if node.epoch != epoch:
            raise AbortedError("the node shook hands again meanwhile", reason="SUPERSEDED")
        return Welcome(
            facts.policy.heartbeat_period_for_ms(self._fold.fleet.node_count),
            epoch,
            node.last_report,
        )
