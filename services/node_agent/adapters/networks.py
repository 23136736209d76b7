"""A network of its own for each deployment of a node, so that tenants don't reach each other.

The engine's default network is one for all; those that are made by Docker's API are kept apart from
each other, by podman too. Subnets are chosen here: Docker has only some thirty to give of itself.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network, ip_network
from socket import AF_INET
from typing import Any

import psutil
import structlog
from aiodocker import Docker, DockerError
from aiodocker.networks import DockerNetwork

from services.node_agent.adapters.container_config import DEPLOYMENT, NODE, network_name
from services.node_agent.adapters.one_container import raise_unless_missing
from services.node_agent.app.ports import RuntimeFaultError
from services.node_agent.settings import SUBNET_PREFIX

_log = structlog.get_logger(__name__)

# Subnets that are tried in a row: what takes one may be hidden from here, or come in between.
_TRIES = 8
# What engines answer about a subnet that is taken.
_TAKEN = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.INTERNAL_SERVER_ERROR})


class DeploymentNetworks:
    """Makes networks when they are needed, and removes those that no container needs any more."""

    def __init__(self, pool: IPv4Network) -> None:
        """Choose subnets of the `pool`, which must be as large as one at least."""
        self._pool = pool
        self._changing = asyncio.Lock()
        # Containers that are being started, by network: it may have no other yet.
        self._starting: Counter[str] = Counter()

    @asynccontextmanager
    async def starting(self, docker: Docker, labels: Mapping[str, str]) -> AsyncIterator[None]:
        """Have a network there while a container with these labels is made and started.

        Raises:
            RuntimeFaultError: no subnet is free.
        """
        name = network_name(labels[NODE], labels[DEPLOYMENT])
        self._starting[name] += 1
        try:
            async with self._changing:
                await self._make(docker, name, labels)
            yield
        finally:
            self._starting[name] -= 1
            if not self._starting[name]:
                del self._starting[name]

    async def release(self, docker: Docker, node_id: str, deployment_id: str) -> None:
        """Remove a deployment's network, unless one of its containers is in it or about to be."""
        name = network_name(node_id, deployment_id)
        async with self._changing:
            if not self._starting[name]:
                await _remove(docker, name)

    async def tidy(self, docker: Docker, node_id: str) -> None:
        """Remove a node's networks that no container needs: what a crash left behind."""
        label = f"{NODE}={node_id}"
        async with self._changing:
            networks = await docker.networks.list(filters={"label": label})
            if not networks:
                return
            containers = await docker.containers.list(
                all=True, filters=json.dumps({"label": [label]})
            )
            needed = {
                network_name(node_id, (each["Labels"] or {}).get(DEPLOYMENT, ""))
                for each in containers
            }
            for network in networks:
                if network["Name"] not in needed and not self._starting[network["Name"]]:
                    await _remove(docker, network["Name"])

    async def _make(self, docker: Docker, name: str, labels: Mapping[str, str]) -> None:
        try:
            await docker.networks.get(name)
        except DockerError as error:
            raise_unless_missing(error)
        else:
            return
        taken = _subnets(await docker.networks.list())
        for tries_left in reversed(range(_TRIES)):
            subnet = self._free(taken)
            try:
                await docker.networks.create(_network_config(name, subnet, labels))
            except DockerError as error:
                if error.status not in _TAKEN or not tries_left:
                    raise
                _log.info("subnet refused", subnet=str(subnet), why=error.message)
                taken.append(subnet)
            else:
                return

    def _free(self, taken: Iterable[IPv4Network]) -> IPv4Network:
        known = [*taken, *_host_subnets()]
        for subnet in self._pool.subnets(new_prefix=SUBNET_PREFIX):
            if not any(subnet.overlaps(each) for each in known):
                return subnet
        raise RuntimeFaultError(f"no subnet of FOG_NETWORK_POOL {self._pool} is free")


def _network_config(name: str, subnet: IPv4Network, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "IPAM": {"Driver": "default", "Config": [{"Subnet": str(subnet)}]},
        "Labels": {key: labels[key] for key in (NODE, DEPLOYMENT)},
    }


async def _remove(docker: Docker, name: str) -> None:
    try:
        network: Any = DockerNetwork  # which has no types
        await network(docker, name).delete()
    except DockerError as error:
        # It may be gone, or a container be in it: an engine removes none that is in use.
        _log.debug("network not removed", network=name, why=error.message)


def _subnets(networks: Iterable[Mapping[str, Any]]) -> list[IPv4Network]:
    given = [
        ip_network(config["Subnet"])
        for network in networks
        for config in (network.get("IPAM") or {}).get("Config") or ()
        if config.get("Subnet")
    ]
    return [subnet for subnet in given if isinstance(subnet, IPv4Network)]


def _host_subnets() -> Iterator[IPv4Network]:
    """Yield the subnets that the host itself has an address in."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family is AF_INET and each.netmask:
                yield IPv4Network((int(IPv4Address(each.address)), each.netmask), strict=False)
