"""The stream that holds a fleet's log: its settings, its making, and the checks at start."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from typing import Any

import httpx2
import nats.errors
import structlog

from fogbank.log.nats_connection import NatsConnection
from fogbank.log.port import (
    LogClosedError,
    LogConfigurationError,
    LogPermissionError,
    LogUnavailableError,
    Writer,
)

_log = structlog.get_logger(__name__)

_NANOS = 1_000_000_000
_REQUEST_TIMEOUT_S = 2.0
# JetStream's error codes.
NO_SUCH_STREAM = 10059
_ALREADY_EXISTS = frozenset({10058})
# In a stream's metadata: why it is closed.
CLOSED = "fogbank.closed"


@dataclass(frozen=True, slots=True)
class StreamName:
    """Which log: a fleet's, in one of its generations."""

    fleet: str = "default"
    generation: int = 1

    def __post_init__(self) -> None:
        """Refuse names that cannot stand in a subject."""
        Writer(self.fleet, "checked")

    @property
    def stream(self) -> str:
        """The stream's name."""
        return f"FOGBANK_{self.fleet}_{self.generation}"

    @property
    def prefix(self) -> str:
        """What each of its subjects begins with, the last dot included."""
        return f"fogbank.log.{self.fleet}.{self.generation}."

    def subject(self, writer: Writer) -> str:
        """Return the subject on which a writer appends."""
        return f"{self.prefix}{writer.service}.{writer.instance}"


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What an operator may choose about the stream; the rest is fixed, because data hangs on it.

    `max_bytes` is reserved on the broker's disk, and a full log refuses appends rather than forget
    its beginning. `first_sequence` is for a generation that continues another.
    """

    max_bytes: int = 4 * 1024**3
    replicas: int = 1
    first_sequence: int = 1

    def config(self, name: StreamName) -> dict[str, Any]:
        """Return the stream's configuration as the broker's API takes it."""
        return {
            "name": name.stream,
            "description": f"Log of record of the fleet {name.fleet}",
            "subjects": [f"{name.prefix}>"],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_bytes": self.max_bytes,
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "max_age": 0,
            "max_consumers": -1,
            "num_replicas": self.replicas,
            "duplicate_window": 120 * _NANOS,
            "deny_delete": True,
            "deny_purge": True,
            "allow_direct": True,
            "compression": "s2",
            "first_seq": self.first_sequence,
        }


# A stream with other values than these can forget.
_MUST_BE = {
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "max_msgs": -1,
    "max_msgs_per_subject": -1,
    "max_age": 0,
    "deny_delete": True,
    "deny_purge": True,
}


def require_open(name: StreamName, info: dict[str, Any]) -> None:
    """Return unless a stream, as the broker tells of it, is closed.

    Raises:
        LogClosedError: it is; says why.
    """
    why = (info["config"].get("metadata") or {}).get(CLOSED)
    if why:
        raise LogClosedError(f"the log {name.stream} is closed: {why}", retry_after_ms=5_000)


class ApiError(Exception):
    """The broker answered with an error. `code` is JetStream's error code, 0 if it named none."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code
        self.description = description


async def api_request(
    connection: NatsConnection,
    endpoint: str,
    body: dict[str, Any] | None = None,
    timeout_s: float = _REQUEST_TIMEOUT_S,
) -> dict[str, Any]:
    """Ask JetStream's API and return its answer.

    Raises:
        LogUnavailableError: no answer within `timeout_s` seconds.
        LogPermissionError: the broker doesn't let this user ask.
        ApiError: the answer is an error.
    """
    await connection.wait_connected(timeout_s)
    payload = b"" if body is None else json.dumps(body).encode()
    try:
        reply = await connection.request(f"$JS.API.{endpoint}", payload, timeout_s=timeout_s)
    except (nats.errors.Error, OSError, TimeoutError) as failure:
        raise LogUnavailableError(
            f"the broker did not answer ({type(failure).__name__})", retry_after_ms=1_000
        ) from failure
    answer: dict[str, Any] = json.loads(reply.data)
    if error := answer.get("error"):
        raise ApiError(error.get("err_code", 0), error.get("description", "unknown error"))
    return answer


async def ensure_stream(
    connection: NatsConnection, name: StreamName, settings: StreamSettings | None = None
) -> bool:
    """Make the stream if there is none, else check that it cannot forget. True if it was made.

    An existing stream is never changed: that is the operator's to do.

    Raises:
        LogConfigurationError: the stream has settings under which commits can be lost, or there
            is none and the broker refuses to make it; says which and why.
        LogUnavailableError: no answer.
    """
    settings = settings or StreamSettings()
    try:
        found = await api_request(connection, f"STREAM.INFO.{name.stream}")
    except ApiError as error:
        if error.code != NO_SUCH_STREAM:
            raise LogUnavailableError(f"the broker cannot tell of the stream: {error}") from error
    else:
        _check_config(name, found["config"])
        return False
    try:
        await api_request(
            connection, f"STREAM.CREATE.{name.stream}", settings.config(name), timeout_s=10
        )
    except LogPermissionError as error:
        raise LogPermissionError(
            f"there is no stream {name.stream}, and only the operator may make it: run "
            "`python -m fogbank.log.setup` once with the operator's user in FOG_NATS_USER and "
            "FOG_NATS_PASSWORD (or _FILE). If the fleet had a log before, the broker lost its "
            "store: restore that instead"
        ) from error
    except ApiError as error:
        if error.code in _ALREADY_EXISTS:  # another service was quicker, with other settings
            return await ensure_stream(connection, name, settings)
        raise LogConfigurationError(
            f"the broker refuses to make the stream {name.stream}: {error.description}"
        ) from error
    _log.info("log created", stream=name.stream, max_bytes=settings.max_bytes)
    return True


def _check_config(name: StreamName, config: dict[str, Any]) -> None:
    wrong = [
        f"{key} is {config.get(key)!r} and must be {value!r}"
        for key, value in _MUST_BE.items()
        if config.get(key, value) != value or (value is True and not config.get(key))
    ]
    if wrong:
        raise LogConfigurationError(
            f"the stream {name.stream} could lose commits: {'; '.join(wrong)}. "
            "Mend it with the operator's account (nats stream edit) and start again."
        )


async def require_sync_always(monitor_url: str, tls: ssl.SSLContext | None = None) -> None:
    """Refuse a broker that confirms writes before they are on disk.

    Raises:
        LogConfigurationError: the broker doesn't sync each write, or has no JetStream; says what
            to put into its configuration.
        LogUnavailableError: nothing answered at the monitoring address.
    """
    url = f"{monitor_url.rstrip('/')}/varz"
    try:
        async with httpx2.AsyncClient(timeout=5, trust_env=False, verify=tls or True) as http:
            answer = (await http.get(url)).raise_for_status().json()
    except (httpx2.HTTPError, ValueError) as error:
        raise LogUnavailableError(
            f"cannot read the broker's settings at {url} ({type(error).__name__}); set "
            "FOG_NATS_MONITOR_URL to the broker's monitoring address (`http:` in its configuration)"
        ) from error
    jetstream = answer.get("jetstream", {}).get("config")
    if not jetstream:
        raise LogConfigurationError(
            "the broker runs without JetStream; put `jetstream { store_dir: ..., "
            "sync_interval: always }` into its configuration and restart it"
        )
    if not jetstream.get("sync_always"):
        raise LogConfigurationError(
            "the broker confirms writes before they are on disk, a power cut would lose "
            "acknowledged commits; put `sync_interval: always` into the `jetstream` block of "
            "its configuration and restart it"
        )
