"""A connection to the broker that stays: reconnects for ever, tells whoever wants to know."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats.errors
import structlog
from nats.aio.client import Client

from fogbank.log.port import LogPermissionError, LogUnavailableError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from nats.aio.msg import Msg

_log = structlog.get_logger(__name__)

_RECONNECT_WAIT_S = 0.2
_CONNECT_TIMEOUT_S = 2
# A connection ends when two pings went unanswered, so a silent broker is noticed within 6 s.
_PING_INTERVAL_S = 2
_DRAIN_TIMEOUT_S = 2

# How the client words a denial; it turns the subject into small letters.
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"')
_REFUSED = "authorization violation"
# A telemetry subject for each node could be among them.
_MOST_DENIALS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class NatsCredentials:
    """How to prove who we are to the broker. Each may be left out; secrets stay out of `repr`.

    A `user` receives answers under `_INBOX_<user>.` and needs the broker's leave to listen there.
    """

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
            # An inbox of the user's own: nobody else may listen there.
            options["inbox_prefix"] = f"_INBOX_{self.user}"
        if self.credentials_file is not None:
            options["user_credentials"] = str(self.credentials_file)
        if self.nkeys_seed_file is not None:
            options["nkeys_seed"] = str(self.nkeys_seed_file)
        if self.tls is not None:
            options["tls"] = self.tls
        return options


class _Client(Client):
    """Keeps the password to itself when TLS was asked for and the broker offers none.

    The client that we build on would go on in clear text then, as would anybody between the two
    who claims to be such a broker.
    """

    def _connect_command(self) -> bytes:
        if self.options.get("tls") is not None and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the broker offers no TLS, which FOG_NATS_TLS_CA demands")
        return super()._connect_command()


class NatsConnection:
    """A client of the broker, and the news about its connection.

    `client` serves for plain messages. `wait_connected` and `on_reconnect` are what the log needs:
    nothing is sent into a client that buffers while it is cut off.
    """

    def __init__(self, name: str) -> None:
        self.client: Client = _Client()
        self.name = name
        self._connected = asyncio.Event()
        self._listeners: set[Callable[[], None]] = set()
        self._last_error = ""
        self._user: str | None = None
        self._inbox = "_inbox."
        self._opening: asyncio.Timeout | None = None
        self._refused = False
        # What we may not publish on, as far as the broker told; in small letters, as it tells.
        self._denied: set[str] = set()
        self._inbox_denied = False
        self._thrown_out = False
        self._closing = False
        self._requests: set[tuple[str, asyncio.Timeout]] = set()

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
        return self._connected.is_set() and bool(self.client.is_connected)

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until there is a connection.

        Raises:
            LogUnavailableError: none within `timeout_s` seconds, or the connection was closed.
            LogPermissionError: the broker has thrown us out.
        """
        self._raise_if_thrown_out()
        if self.client.is_closed:
            raise LogUnavailableError("the connection to the broker was closed")
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            raise LogUnavailableError("no connection to the broker", retry_after_ms=1_000) from None
        self._raise_if_thrown_out()

    def _raise_if_thrown_out(self) -> None:
        if self._thrown_out:
            raise LogPermissionError(
                f"the broker no longer takes the user {self._user or 'without a name'}: its users "
                "were changed; start again with the new password"
            )

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: dict[str, str] | None = None,
    ) -> Msg:
        """Send a message and wait `timeout_s` seconds for its answer.

        The broker answers a message that it denies by silence and an error beside it, so a plain
        client would wait in vain and try again.

        Raises:
            LogPermissionError: we may not publish there, or not receive answers.
            nats.errors.Error, TimeoutError, OSError: no answer, for another reason.
        """
        cancelled_before = _cancellations()
        try:
            async with asyncio.timeout(timeout_s) as patience:
                waiting = (subject.lower(), patience)
                self._requests.add(waiting)
                try:
                    return await self.client.request(
                        subject,
                        payload,
                        timeout=timeout_s,
                        headers=headers,
                    )
                finally:
                    self._requests.discard(waiting)
        except TimeoutError:
            self._raise_denial(subject)
            raise
        finally:
            if _cancellations() > cancelled_before:
                # The client waits with asyncio.wait_for, which before Python 3.12 forgets that it
                # was cancelled if the answer came at that very moment, be it that nobody is there
                # to give one. A loop would never end then.
                raise asyncio.CancelledError

    def check_may_publish(self, prefix: str) -> None:
        """Look back: was a message on a subject with this prefix denied since we connected?

        Raises:
            LogPermissionError: one was.
        """
        for denied in self._denied:
            if denied.startswith(prefix.lower()):
                self._raise_denial(denied)

    def _raise_denial(self, subject: str) -> None:
        who = f"the user {self._user}" if self._user else "us"
        if self._inbox_denied:
            raise LogPermissionError(
                f"the broker does not let {who} receive answers on {self._inbox}>; allow it in "
                "the broker's configuration"
            )
        if subject.lower() in self._denied:
            raise LogPermissionError(
                f"the broker does not let {who} publish on {subject}; give the service "
                "its own user (FOG_NATS_USER), or allow it in the broker's configuration"
            )

    async def open(self, url: str, credentials: NatsCredentials, timeout_s: float) -> None:
        """Connect; tries again and again for `timeout_s` seconds.

        Raises:
            LogUnavailableError: no broker answered there in that time.
            LogPermissionError: the broker doesn't take our credentials.
        """
        self._user = credentials.user
        if credentials.user is not None:
            self._inbox = f"_INBOX_{credentials.user}."
        try:
            async with asyncio.timeout(timeout_s) as self._opening:
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
            await self._abandon()
            where = _without_password(url)
            if self._refused:
                raise LogPermissionError(
                    f"the broker at {where} refuses the user {self._user or 'without a name'}: "
                    "check FOG_NATS_USER and FOG_NATS_PASSWORD (or _FILE)"
                ) from None
            raise LogUnavailableError(
                f"no broker answered at {where} within {timeout_s:g} s"
                + (f" ({self._last_error})" if self._last_error else "")
            ) from None
        finally:
            self._opening = None
        self._connected.set()

    async def _abandon(self) -> None:
        """Close a client that never got connected; by itself it would leave its socket behind."""
        self._closing = True
        await self._close_client()
        transport: Any = self.client._transport  # noqa: SLF001 (nothing public leads to it)
        if transport is not None:
            transport.close()
            await asyncio.sleep(0)  # the socket is closed in the loop's next round

    async def close(self) -> None:
        """Send what is pending, then close."""
        self._closing = True
        if self.client.is_closed:
            return
        try:
            if self.client.is_connected:
                await self.client.drain()
            else:
                await self._close_client()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            _log.debug("broker connection closed uncleanly", error=repr(error))
            await self._close_client()

    async def _close_client(self) -> None:
        before = _cancellations()
        try:
            await self.client.close()
        except asyncio.CancelledError:
            # Nobody cancelled us: the client had cancelled its own reconnecting while that waited
            # for the broken connection's end, and then waits for the same end itself.
            if _cancellations() > before:
                raise
            _log.debug("broker connection closed uncleanly", connection=self.name)

    async def _on_error(self, error: Exception) -> None:
        text = _describe(error)
        if denial := _DENIED.search(text.lower()):
            self._on_denial(*denial.groups())
            return
        if self._opening is not None and _REFUSED in text.lower():
            self._refused = True
            self._opening.reschedule(asyncio.get_running_loop().time())
        # A broker that is down fails five times a second in the same way: say it once.
        if text != self._last_error:
            self._last_error = text
            _log.warning("broker connection error", connection=self.name, error=text)

    def _on_denial(self, what: str, subject: str) -> None:
        """Note what the broker denied, and end the requests that wait for it."""
        if what == "subscription" and subject.startswith(self._inbox.lower()):
            self._inbox_denied = True
        if subject not in self._denied and len(self._denied) < _MOST_DENIALS_KEPT:
            _log.error(
                "the broker denies it", connection=self.name, user=self._user, **{what: subject}
            )
            if what == "publish":
                self._denied.add(subject)
        now = asyncio.get_running_loop().time()
        for waiting_for, patience in tuple(self._requests):
            if waiting_for == subject or self._inbox_denied:
                patience.reschedule(now)

    async def _on_disconnected(self) -> None:
        self._connected.clear()
        if not self.client.is_closed:
            _log.warning("broker connection lost", connection=self.name)

    async def _on_reconnected(self) -> None:
        self._connected.set()
        self._last_error = ""
        # The broker may have been given another configuration.
        self._denied.clear()
        self._inbox_denied = False
        _log.info("broker connection restored", connection=self.name)
        for listener in tuple(self._listeners):
            listener()

    async def _on_closed(self) -> None:
        self._connected.clear()
        if not self._closing:
            # The client gives up for nothing but this; whoever waits is told at the next attempt.
            self._thrown_out = True
            self._connected.set()
            _log.error("the broker refuses us from now on", connection=self.name, user=self._user)
            for listener in tuple(self._listeners):
                listener()
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
        LogPermissionError: the broker doesn't take the credentials.
    """
    connection = NatsConnection(name)
    await connection.open(url, credentials or NatsCredentials(), timeout_s)
    try:
        yield connection
    finally:
        await connection.close()


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _without_password(url: str) -> str:
    return ",".join(part.rpartition("@")[2] or part for part in url.split(","))
