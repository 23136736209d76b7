"""A connection to the broker that stays: reconnects for ever, tells whoever wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats.errors
import structlog
from nats.aio.client import Client

from fogbank.log.port import LogUnavailableError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

_log = structlog.get_logger(__name__)

_RECONNECT_WAIT_S = 0.2
_CONNECT_TIMEOUT_S = 2
# A connection ends when two pings went unanswered, so a silent broker is noticed within 6 s.
_PING_INTERVAL_S = 2
_DRAIN_TIMEOUT_S = 2


@dataclass(frozen=True, slots=True)
class NatsCredentials:
    """How to prove who we are to the broker. Each may be left out; secrets stay out of `repr`."""

    user: str | None = None
    password: str | None = None
    credentials_file: Path | None = None
    nkeys_seed_file: Path | None = None
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        """Name the user only."""
        return f"NatsCredentials(user={self.user!r}, ...)"

    def options(self) -> dict[str, Any]:
        """Return them as the options of the client."""
        options: dict[str, Any] = {}
        if self.user is not None:
            options["user"] = self.user
            options["password"] = self.password
        if self.credentials_file is not None:
            options["user_credentials"] = str(self.credentials_file)
        if self.nkeys_seed_file is not None:
            options["nkeys_seed"] = str(self.nkeys_seed_file)
        if self.tls is not None:
            options["tls"] = self.tls
        return options


class NatsConnection:
    """A client of the broker, and the news about its connection.

    `client` serves for plain messages. `wait_connected` and `on_reconnect` are what the log needs:
    nothing is sent into a client that buffers while it is cut off.
    """

    def __init__(self, name: str) -> None:
        self.client = Client()
        self.name = name
        self._connected = asyncio.Event()
        self._listeners: set[Callable[[], None]] = set()
        self._last_error = ""

    @contextmanager
    def on_reconnect(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` after each reconnect while the context lasts."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    def add_reconnect_listener(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each reconnect for as long as the connection lives."""
        self._listeners.add(listener)

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be spoken to right now."""
        return self._connected.is_set() and self.client.is_connected

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until there is a connection.

        Raises:
            LogUnavailableError: none within `timeout_s` seconds, or the connection was closed.
        """
        if self.client.is_closed:
            raise LogUnavailableError("the connection to the broker was closed")
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            raise LogUnavailableError("no connection to the broker", retry_after_ms=1_000) from None

    async def open(self, url: str, credentials: NatsCredentials, timeout_s: float) -> None:
        """Connect; tries again and again for `timeout_s` seconds.

        Raises:
            LogUnavailableError: no broker answered there in that time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.client.connect(
                    url.split(","),
                    name=self.name,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT_S,  # type: ignore[arg-type]
                    connect_timeout=_CONNECT_TIMEOUT_S,
                    ping_interval=_PING_INTERVAL_S,
                    drain_timeout=_DRAIN_TIMEOUT_S,
                    **credentials.options(),
                )
        except TimeoutError:
            await self.client.close()
            raise LogUnavailableError(
                f"no broker answered at {_without_password(url)} within {timeout_s:g} s"
            ) from None
        self._connected.set()

    async def close(self) -> None:
        """Send what is pending, then close."""
        if self.client.is_closed:
            return
        try:
            if self.client.is_connected:
                await self.client.drain()
            else:
                await self.client.close()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            _log.debug("broker connection closed uncleanly", error=repr(error))
            await self.client.close()

    async def _on_error(self, error: Exception) -> None:
        text = _describe(error)
        # A broker that is down fails five times a second in the same way: say it once.
        if text != self._last_error:
            self._last_error = text
            _log.warning("broker connection error", connection=self.name, error=text)

    async def _on_disconnected(self) -> None:
        self._connected.clear()
        if not self.client.is_closed:
            _log.warning("broker connection lost", connection=self.name)

    async def _on_reconnected(self) -> None:
        self._connected.set()
        self._last_error = ""
        _log.info("broker connection restored", connection=self.name)
        for listener in tuple(self._listeners):
            listener()

    async def _on_closed(self) -> None:
        self._connected.clear()
        _log.debug("broker connection closed", connection=self.name)


@asynccontextmanager
async def connect(
    url: str,
    name: str,
    credentials: NatsCredentials | None = None,
    *,
    timeout_s: float = 10,
) -> AsyncIterator[NatsConnection]:
    """Connect to the broker at `url` (several with commas between) under a `name` it can show.

    Waits `timeout_s` seconds for the first connection; later losses are mended for ever.

    Raises:
        LogUnavailableError: no broker answered there in that time.
    """
    connection = NatsConnection(name)
    await connection.open(url, credentials or NatsCredentials(), timeout_s)
    try:
        yield connection
    finally:
        await connection.close()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _without_password(url: str) -> str:
    return ",".join(part.rpartition("@")[2] or part for part in url.split(","))
