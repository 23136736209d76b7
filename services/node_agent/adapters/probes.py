"""Probes over the network: a connection, a request, a health check of gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fogbank.domain.containers import HealthProbe, ProbeKind
from services.node_agent.app.ports import ProbeTry

_FIRST_GOOD, _FIRST_BAD = 200, 400


@asynccontextmanager
async def network_probe(host: str, port: int, probe: HealthProbe) -> AsyncIterator[ProbeTry]:
    """Get ready to try a probe, of any kind but EXEC, at an address; connections are kept."""
    match probe.kind:
        case ProbeKind.HTTP:
            async with aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            ) as session:
                yield lambda: _get(session, f"http://{_address(host, port)}{probe.path}")
        case ProbeKind.GRPC:
            async with grpc.aio.insecure_channel(
                _address(host, port), options=[("grpc.enable_http_proxy", 0)]
            ) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                yield lambda: _check(stub, probe)
        case _:
            yield lambda: _connect(host, port)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _connect(host: str, port: int) -> str:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return f"no connection to port {port}: {error.strerror or error}"
    writer.close()
    return ""


async def _get(session: aiohttp.ClientSession, url: str) -> str:
    try:
        async with session.get(url, allow_redirects=False) as answer:
            good = _FIRST_GOOD <= answer.status < _FIRST_BAD
            return "" if good else f"status {answer.status}"
    except (aiohttp.ClientError, OSError) as error:
        return f"no answer: {error}"


async def _check(stub: Any, probe: HealthProbe) -> str:
    try:
        answer = await stub.Check(
            health_pb2.HealthCheckRequest(service=probe.service), timeout=probe.timeout_ms / 1000
        )
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name.lower()}: {error.details()}"
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    # What answers is the tenant's own program: it may give a number that has no name.
    names = {number: name for name, number in health_pb2.HealthCheckResponse.ServingStatus.items()}
    return names.get(answer.status, f"status {answer.status}").lower()
