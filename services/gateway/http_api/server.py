"""Serving the HTTP face in the service's own event loop and lifecycle."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from fogbank.runtime.settings import host_and_port
from services.gateway.http_api.connections import PatientConfig
from services.gateway.http_api.dependencies import CLIENT_PATIENCE_S

_BACKLOG = 2048
# Event streams never end by themselves: they get this long when the service stops.
_GRACE_S = 2


def _is_no_refusal(record: logging.LogRecord) -> bool:
    """Drop what uvicorn says, as an error, of each WebSocket that was answered 401 or 404."""
    return "without completing handshake" not in record.getMessage()


class _Server(uvicorn.Server):
    """Leaves signals to the service."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class HttpServer:
    """One listener. `run` belongs in the service's task group; `stop` lets it return."""

    def __init__(
        self,
        app: ASGIApp,
        listen: str,
        tls: ssl.SSLContext | None = None,
        *,
        client_patience_s: float = CLIENT_PATIENCE_S,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        """Bind `listen` (host:port, 0 for a free port) at once; with `tls` it speaks HTTPS.

        Clients that neither read nor send what is due for so many seconds lose their connection.
        A request from a trusted proxy (an address, or a network as CIDR) comes from the last
        address in its X-Forwarded-For that is none of them; from others that header means nothing.

        Raises:
            OSError: the address is taken or not ours.
        """
        logging.getLogger("uvicorn.error").addFilter(_is_no_refusal)
        host, port = host_and_port(listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, reuse_port=False
        )
        self._server = _Server(
            PatientConfig(
                app,
                client_patience_s=client_patience_s,
                loop="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(trusted_proxies),
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_GRACE_S,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            )
        )

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        port: int = self._socket.getsockname()[1]
        return port

    async def run(self) -> None:
        """Serve until `stop`, or until cancelled."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Stop accepting, let requests in hand finish, then let `run` return."""
        self._server.should_exit = True
