"""Connections that end when their clients stand still: ones that do not read, or drip a request.

What waits for a client that does not read is bounded by the transport's buffer: whoever writes to
it waits with it. A client that lags is no reason to end anything, as long as it takes what waits
for it in time; it is served from the log. One that does not holds a stream and some memory for
nobody. It is told why, should it read again soon, and can resume after the last message it got.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import structlog
import uvicorn
from prometheus_client import Counter
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_log = structlog.get_logger(__name__)

CUT = Counter(
    "fog_http_connections_cut",
    "Connections ended because the client did not read, or did not send its request.",
    ["reason"],
)

NOT_READ = "what was sent was not read in time"
NOT_SENT = "the request was not sent in time"
# A WebSocket's close code for "try again later".
_TRY_LATER = 1013


class PatientConfig(uvicorn.Config):
    """uvicorn's configuration, and how long a client may stand still."""

    def __init__(self, app: ASGIApp, *, client_patience_s: float, **named: Any) -> None:
        # What uvicorn takes for an app is typed more narrowly than what Starlette makes.
        super().__init__(cast("Any", app), http=PatientHttp, ws=PatientWebSocket, **named)
        self.client_patience_s = client_patience_s


class _Patience:
    """Ends a connection unless the client does in time what is expected of it."""

    def __init__(
        self, transport: asyncio.Transport, config: uvicorn.Config, farewell: Callable[[], None]
    ) -> None:
        assert isinstance(config, PatientConfig)  # noqa: S101 (what these protocols come with)
        self._transport = transport
        self._patience_s = config.client_patience_s
        self._farewell = farewell
        self._ends: asyncio.TimerHandle | None = None
        self._cut = False

    def expect(self, reason: str) -> None:
        """Begin to wait for the client, if nothing is waited for."""
        if self._ends is None:
            self._ends = self._later(self._end, reason)

    def satisfied(self) -> None:
        """Wait no more."""
        if self._ends is not None and not self._cut:
            self._ends.cancel()
            self._ends = None

    def lost(self) -> None:
        """Note that the connection is gone."""
        if self._ends is not None:
            self._ends.cancel()

    def _later(self, call: Callable[..., None], *arguments: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._patience_s, call, *arguments)

    def _end(self, reason: str) -> None:
        CUT.labels(reason).inc()
        client = self._transport.get_extra_info("peername")
        _log.warning(
            "connection cut",
            reason=reason,
            after_s=self._patience_s,
            client=str(client[0]) if client else "",
        )
        self._cut = True
        self._farewell()
        # Closing waits until the client has read what is in the buffer.
        self._transport.close()
        self._ends = self._later(self._transport.abort)


class _ToReader(asyncio.Protocol):
    """What both protocols are: expecting that the client reads."""

    _reading: _Patience

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._reading.lost()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Expect that the client reads."""
        super().pause_writing()
        self._reading.expect(NOT_READ)

    def resume_writing(self) -> None:
        """Go on: the client read."""
        self._reading.satisfied()
        super().resume_writing()


class PatientHttp(_ToReader, HttpToolsProtocol):
    """HTTP, for clients that send their requests and read their answers."""

    _asking: _Patience

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._reading = _Patience(transport, self.config, self._end_answer)
        self._asking = _Patience(transport, self.config, self._refuse)
        self._asking.expect(NOT_SENT)

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._asking.lost()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Expect the rest of the request's head."""
        super().on_message_begin()
        self._asking.expect(NOT_SENT)

    def on_headers_complete(self) -> None:
        """Be content: a body has its own limit, where it is read."""
        self._asking.satisfied()
        super().on_headers_complete()

    def _end_answer(self) -> None:
        """Let the app know that nobody is there, and end an event stream with the reason.

        Only event streams have no length that was told before.
        """
        if self.cycle.response_complete:
            return
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if self.cycle.chunked_encoding:
            comment = f": {NOT_READ}; resume with Last-Event-ID\n\n".encode()
            self.transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(comment), comment))

    def _refuse(self) -> None:
        """Say that the request took too long."""
        answered: RequestResponseCycle | None = self.cycle
        if answered is None or answered.response_complete:
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )


class PatientWebSocket(_ToReader, WebSocketsSansIOProtocol):
    """WebSockets of clients that read their messages."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect nothing until there is something to read."""
        super().connection_made(transport)
        # Not asserted: uvloop's transports are no subclass.
        self._reading = _Patience(cast("asyncio.Transport", transport), self.config, self._close)

    def _close(self) -> None:
        """Let the app know that nobody is there, and close with the reason."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": _TRY_LATER})
        if not self.close_sent:
            self.conn.fail(_TRY_LATER, NOT_READ)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
