"""Which subnet a deployment's network gets."""

from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest
from aiodocker import Docker, DockerError

from services.node_agent.adapters import networks as subject
from services.node_agent.adapters.container_config import DEPLOYMENT, NODE
from services.node_agent.adapters.networks import DeploymentNetworks

LABELS = {NODE: "n-1", DEPLOYMENT: "d-1"}


class _Engine:
    """As much of an engine as networks are made of; it refuses some subnets."""

    def __init__(self, taken: list[str], refused: int) -> None:
        self.networks = self
        self.asked: list[str] = []
        self._taken = taken
        self._refused = refused

    async def get(self, name: str) -> None:
        raise DockerError(404, f"no such network: {name}")

    async def list(self) -> list[dict[str, Any]]:
        return [{"IPAM": {"Config": [{"Subnet": each}]}} for each in self._taken] + [{"IPAM": {}}]

    async def create(self, config: dict[str, Any]) -> None:
        self.asked.append(config["IPAM"]["Config"][0]["Subnet"])
        if len(self.asked) <= self._refused:
            raise DockerError(403, "Pool overlaps with other one on this address space")


async def asked(engine: _Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have a network made on a host at 10.0.1.7/24, and return the subnets that were tried."""
    host = [IPv4Network("10.0.1.0/24")]
    monkeypatch.setattr(subject, "_host_subnets", lambda: host)
    docker: Docker = SimpleNamespace(networks=engine)  # type: ignore[assignment]
    async with DeploymentNetworks(IPv4Network("10.0.0.0/16")).starting(docker, LABELS):
        return engine.asked


async def test_a_subnet_is_free_on_the_engine_and_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = _Engine(["10.0.0.0/25", "fd00::/64", "10.0.2.0/23"], refused=0)
    assert await asked(engine, monkeypatch) == ["10.0.4.0/24"]


async def test_another_subnet_is_tried_when_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await asked(_Engine([], refused=2), monkeypatch) == [
        "10.0.0.0/24",
        "10.0.2.0/24",
        "10.0.3.0/24",
    ]


async def test_an_engine_that_refuses_all_is_not_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = _Engine([], refused=100)
    with pytest.raises(DockerError, match="Pool overlaps"):
        await asked(engine, monkeypatch)
    assert len(engine.asked) == 8
