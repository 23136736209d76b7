"""The probe with which a container is checked."""

import asyncio

import pytest

from fogbank.runtime.grpc_server import GrpcServer
from fogbank.runtime.health_probe import probe
from fogbank.runtime.metrics import exposition
from tests.support.ports import free_port


async def test_a_service_is_well_when_it_says_so() -> None:
    server = GrpcServer(["some.Service"])
    port = await server.start("127.0.0.1:0")
    environment = {"FOG_GRPC_LISTEN": f"0.0.0.0:{port}", "FOG_METRICS_LISTEN": "127.0.0.1:1"}
    assert await asyncio.to_thread(probe, environment) == f"127.0.0.1:{port}: NOT_SERVING"
    await server.serving()
    assert not await asyncio.to_thread(probe, environment)
    await server.stop(0)
    assert "UNAVAILABLE" in await asyncio.to_thread(probe, environment)


async def test_a_service_without_grpc_is_well_when_it_shows_metrics() -> None:
    with exposition("127.0.0.1:0") as port:
        environment = {"FOG_METRICS_LISTEN": f":{port}"}
        assert not await asyncio.to_thread(probe, environment)
    gone = {"FOG_METRICS_LISTEN": f"127.0.0.1:{free_port()}"}
    assert "refused" in await asyncio.to_thread(probe, gone)


@pytest.mark.parametrize("environment", [{}, {"FOG_GRPC_LISTEN": ""}])
def test_a_service_that_listens_nowhere_is_not_well(environment: dict[str, str]) -> None:
    assert "FOG_GRPC_LISTEN" in probe(environment)
