"""Whether a child answers: a TCP port, the standard gRPC health service, an HTTP path."""

import asyncio
import ssl
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

_CALL_TIMEOUT_S = 2.0
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.2

Probe = Callable[[], Awaitable[bool]]


async def until(probe: Probe) -> None:
    """Ask until the answer is yes."""
    pause_s = _FIRST_PAUSE_S
    while not await probe():
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.3, _LONGEST_PAUSE_S)


def http_ok(url: str, tls: ssl.SSLContext | None = None) -> Probe:
    """Return a probe: is the page there, with status 200?"""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(  # noqa: S310
                url, timeout=_CALL_TIMEOUT_S, context=tls
            ) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except (urllib.error.URLError, OSError):
            return False

    async def probe() -> bool:
        return await asyncio.to_thread(ask)

    return probe


def grpc_serving(address: str, tls: tuple[bytes, bytes, bytes] | None = None) -> Probe:
    """Return a probe: does the server's health service say SERVING?

    With `tls` (certificates to trust, own key, own chain; PEM) it is called over TLS.
    """

    async def probe() -> bool:
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        # A channel of its own each time: an old one would wait out its reconnect backoff.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with (
            grpc.aio.insecure_channel(address, options)
            if tls is None
            else grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(*tls), options)
        ) as channel:
            try:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return probe
