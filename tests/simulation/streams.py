"""Agents' streams to gateways: bytes in order, late, cut, broken; never lost within a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fogbank.domain.errands import Brought, Errand
from fogbank.domain.errors import FogError
from fogbank.runtime.error_table import outside
from fogbank.v1 import agent_service_pb2 as pb
from services.node_agent.adapters.gateway_stream import _REFUSALS, _message, _request
from services.node_agent.app.ports import GatewayError
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from tests.simulation.loop import Process
from tests.simulation.world import Link, World

if TYPE_CHECKING:
    from tests.simulation.actors import GatewayActor

TOKEN = "a fleet's token"
_KEEPALIVE_S = 20.0
# Timers of the same instant would come in any order.
_APART_S = 1e-6


class _End:
    """The end of one direction, with the error if there was one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


class Pipe:
    """One direction of a stream: in order, each message after a delay, held while it is cut."""

    def __init__(self, world: World, link: Link, *, there: bool) -> None:
        self._world = world
        self._link = link
        self._there = there
        self._last_s = 0.0
        self._arrived: deque[bytes | _End] = deque()
        self._held: list[bytes | _End] = []
        self._grown = asyncio.Event()
        self.broken = False

    @property
    def cut(self) -> bool:
        """Whether nothing gets through now."""
        return self._link.cut_there if self._there else self._link.cut_back

    def send(self, item: bytes | _End) -> None:
        """Put something on its way."""
        loop = self._world.loop
        self._last_s = max(self._last_s + _APART_S, loop.time() + self._link.delay_s())
        loop.call_at(self._last_s, self._arrive, item, context=self._world.nowhere)

    def _arrive(self, item: bytes | _End) -> None:
        if self.broken:
            return
        if self.cut or self._held:
            self._held.append(item)
            return
        self._arrived.append(item)
        self._grown.set()

    def flush(self) -> None:
        """Deliver what waited for the direction to be mended."""
        if not self.cut and not self.broken:
            self._arrived.extend(self._held)
            self._held.clear()
            self._grown.set()

    def break_off(self, error: Exception | None) -> None:
        """Deliver nothing more but the end."""
        if not self.broken:
            self.broken = True
            self._held.clear()
            self._arrived.append(_End(error))
            self._grown.set()

    async def items(self) -> AsyncIterator[bytes]:
        """Yield what arrives until the end; raises its error."""
        while True:
            while self._arrived:
                item = self._arrived.popleft()
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item
            self._grown.clear()
            await self._grown.wait()


class SimStream:
    """A `GatewayStream`: the agent's end of one call of `Connect`."""

    def __init__(self, world: World, link: Link, process: Process, node_id: str, name: str) -> None:
        self.machine = name
        self._world = world
        self._link = link
        self._process = process
        self._node_id = node_id
        self._name = name
        self.there = Pipe(world, link, there=True)
        self.back = Pipe(world, link, there=False)
        self.server: asyncio.Task[None] | None = None
        self.closed = False
        link.on_change.append(self._link_changed)

    def send(self, message: ef.Outgoing) -> None:
        if self._process.alive and not self.closed:
            request = _request(message, self._node_id, self._name)
            self.there.send(request.SerializeToString())

    async def messages(self) -> AsyncIterator[st.GatewayMessage | Errand]:
        async for data in self.back.items():
            message = _message(pb.ConnectResponse.FromString(data))
            if message is not None:
                yield message

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.back.break_off(None)
        if self._link_changed in self._link.on_change:
            self._link.on_change.remove(self._link_changed)
        # The gateway hears of it, at once or by its keepalive.
        self._world.later(
            self._link.delay_s() if self._link.whole else _KEEPALIVE_S, self.end_server
        )

    def end_server(self) -> None:
        """End the gateway's side."""
        self.there.break_off(None)
        if self.server is not None:
            self.server.cancel()

    def lost(self, after_s: float) -> None:
        """Let the agent find out that the gateway is gone."""
        self._world.later(after_s, self.back.break_off, GatewayError("UNAVAILABLE: gone"))

    def _link_changed(self) -> None:
        self.there.flush()
        self.back.flush()
        if not self._link.whole:
            self._world.later(self._link.uniform(0.5, 1.0) * _KEEPALIVE_S, self._keepalive)

    def _keepalive(self) -> None:
        if not self._link.whole and not self.closed:
            self.back.break_off(GatewayError("UNAVAILABLE: keepalive timeout"))
            self.end_server()


class SimGateways:
    """The doors of the system, as an agent sees them."""

    def __init__(
        self, world: World, process: Process, gateways: Sequence[GatewayActor], machine: str
    ) -> None:
        self._world = world
        self._process = process
        self._gateways = gateways
        self._machine = machine

    @property
    def count(self) -> int:
        return len(self._gateways)

    @asynccontextmanager
    async def open(self, number: int, node_id: str, name: str) -> AsyncIterator[SimStream]:
        gateway = self._gateways[number]
        link = self._world.link(self._machine, gateway.name)
        stream = SimStream(self._world, link, self._process, node_id, name)
        if self._process.alive:
            self._world.later(link.delay_s(), self._dial, gateway, link, stream)
        try:
            yield stream
        finally:
            stream.close()

    async def serve(self, number: int, errand_id: str, brought: AsyncIterator[Brought]) -> None:
        raise NotImplementedError("nobody here sends agents on errands")

    def _dial(self, gateway: GatewayActor, link: Link, stream: SimStream) -> None:
        if not link.whole:
            return  # nobody answers; the agent's patience ends
        if not gateway.accept(stream):
            stream.lost(link.delay_s())


class _Call:
    """As much of a servicer's context as `Connect` asks for."""

    @staticmethod
    def invocation_metadata() -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {TOKEN}"),)

    @staticmethod
    def auth_context() -> dict[str, list[bytes]]:
        return {}


async def serve_stream(service: Any, stream: SimStream, process: Process) -> None:
    """Run `AgentService.Connect` for one stream, and send what it says back."""

    async def requests() -> AsyncIterator[pb.ConnectRequest]:
        async for data in stream.there.items():
            yield pb.ConnectRequest.FromString(data)

    end = _End()
    try:
        async for response in service.Connect(requests(), _Call()):
            if not process.alive:
                return
            stream.back.send(response.SerializeToString())
    except FogError as error:
        code = outside(error).grpc_code
        end = _End(GatewayError(f"{code.name}: {error.message}", refused=code in _REFUSALS))
    if process.alive:
        stream.back.send(end)
