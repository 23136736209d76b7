"""A TCP proxy that misbehaves on demand: swallows, delays, drips, cuts connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.waiting import eventually, pause


class FaultProxy:
    """Passes bytes between clients and one server until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.swallow_answers = False
        self.swallow_requests = False
        self.refuse = False
        self.swallowed_bytes = 0
        # So long everything takes, each way; what comes keeps its order.
        self.delay_s = 0.0
        # So many bytes go on at a time, 0 for all there are; between two, others get their turn.
        self.drip_bytes = 0

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Break all connections at once and pass bytes again on the next ones.

        What was swallowed is gone, so a connection that swallowed something can't go on.
        """
        self.swallow_answers = self.swallow_requests = False
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer, answers=False))
                group.create_task(self._pass(far_reader, writer, answers=True))
        finally:
            self._writers -= {writer, far_writer}

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.swallow_answers if answers else self.swallow_requests:
                    self.swallowed_bytes += len(data)
                    continue
                if not answers:
                    await self._before_request(data)
                if self.delay_s:
                    await pause(self.delay_s)
                for piece in _pieces(data, self.drip_bytes):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.transport.abort()

    async def _before_request(self, data: bytes) -> None:
        """Do what must be done before a client's bytes are passed on: nothing."""

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Break all connections and stop listening."""
        assert self._server is not None
        self.cut()
        self._server.close()
        await self._server.wait_closed()
        await eventually(lambda: not self._writers, what="the end of all connections")


def _pieces(data: bytes, most: int) -> list[bytes]:
    step = most or len(data)
    return [data[start : start + step] for start in range(0, len(data), step)]


class HoldingProxy(FaultProxy):
    """Keeps what clients send from some words on, and passes it on much later.

    `hold_from` and `release` may be called from any thread.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.held_bytes = 0
        self._words: bytes | None = None
        self._released = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def hold_from(self, words: bytes) -> None:
        """Hold the next bytes that contain `words`, and all that its connection sends after."""
        self._words = words

    def release(self) -> None:
        """Pass on what was held, in its order, and hold nothing more."""
        self._words = None
        self._loop.call_soon_threadsafe(self._released.set)

    async def _before_request(self, data: bytes) -> None:
        if self._words is not None and self._words in data:
            self.held_bytes += len(data)
            await self._released.wait()


@asynccontextmanager
async def fault_proxy(host: str, port: int) -> AsyncIterator[FaultProxy]:
    """Run a proxy before `host:port` while the context lasts."""
    proxy = FaultProxy(host, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
