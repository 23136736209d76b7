"""The agent's settings, from the environment (prefix FOG_)."""

from __future__ import annotations

import json
import re
import socket
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from fogbank.domain.gpus import MAX_GPUS
from fogbank.domain.resources import Resources
from fogbank.runtime.settings import ListenAddress, Read, Secret, Settings, separated
from services.node_agent.app.node import NodeSettings
from services.node_agent.app.session import Backoff
from services.node_agent.core.garbage import ImageRules, LogRules
from services.node_agent.core.restarts import AgentPolicy

# A node's name is a folder's name too.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z"
_US_PER_S = 1_000_000
_BYTES_PER_MIB = 1024 * 1024
# Of the subnet of a deployment on a node: room for 253 replicas.
SUBNET_PREFIX = 24


class NodeDescription(Struct, frozen=True, forbid_unknown_fields=True):
    """One of a process's nodes: cpu in cores, memory in MiB, storage in GiB, gpu in devices."""

    name: Annotated[str, Meta(pattern=_NAME)]
    region: str = "us-east"
    cpu: Annotated[float, Meta(gt=0)] = 4
    memory: Annotated[int, Meta(gt=0)] = 8192
    storage: Annotated[int, Meta(ge=0)] = 100
    gpu: Annotated[int, Meta(ge=0)] = 0
    gpu_model: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    data_dir: Path | None = None

    @property
    def capacity(self) -> Resources:
        """What the node has."""
        return Resources(round(self.cpu * 1000), self.memory, self.storage, self.gpu * 1000)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def _capabilities(text: str) -> tuple[str, ...]:
    """Read `CHOWN,cap_setuid`, as people write them."""
    names = [name.upper().removeprefix("CAP_") for name in separated(text)]
    if bad := [name for name in names if not re.fullmatch(r"[A-Z_]+", name)]:
        raise ValueError(f"{bad[0]!r} is no name of a capability")
    if "ALL" in names:
        raise ValueError("name the capabilities that are needed; ALL is not for containers")
    return tuple(names)


def _pool(text: str) -> IPv4Network:
    pool = IPv4Network(text)
    if pool.prefixlen > SUBNET_PREFIX:
        raise ValueError(f"{pool} has no room for a subnet /{SUBNET_PREFIX}")
    return pool


def _labels(text: str) -> dict[str, str]:
    """Read `key=value,key=value`."""
    labels: dict[str, str] = {}
    for part in separated(text):
        key, equals, content = part.partition("=")
        if not key or not equals:
            raise ValueError(f"{part!r} is not key=value")
        labels[key.strip()] = content.strip()
    return labels


class AgentSettings(Settings, frozen=True):
    """What a node agent is told. Spans are in seconds (`_s`) or milliseconds (`_ms`).

    With `nodes` (FOG_NODES_FILE names a JSON file) the process hosts all these nodes, each of the
    size given and in a folder of its own under `data_dir`; without, it is the one node that it
    runs on. `engine_socket` is a path or URL; empty looks where engines usually listen.
    """

    service: ClassVar[str] = "node-agent"

    gateway_addrs: Annotated[tuple[ListenAddress, ...], Read(separated)] = (
        ListenAddress("127.0.0.1:50051"),
    )
    agent_token: Secret | None = None
    join_token: Secret | None = None
    join_addr: ListenAddress | None = None
    data_dir: Path = Path(".fogbank/node-agent")
    nodes: Annotated[tuple[NodeDescription, ...], Read(_json)] = ()
    runtime: Literal["auto", "container", "simulated"] = "auto"
    engine_socket: str = ""
    registry_config: Path | None = None
    images_high_percent: Annotated[int, Meta(ge=1, le=100)] = 85
    images_low_percent: Annotated[int, Meta(ge=0, le=100)] = 80
    images_unused_s: Annotated[float, Meta(ge=60)] = 3600
    kept_logs: Annotated[int, Meta(ge=0)] = 2
    kept_logs_mib: Annotated[int, Meta(ge=1)] = 64
    container_pids: Annotated[int, Meta(ge=0)] = 512
    container_open_files: Annotated[int, Meta(ge=0)] = 1024
    container_user_processes: Annotated[int, Meta(ge=0)] = 1024
    container_capabilities: Annotated[tuple[str, ...], Read(_capabilities)] = (
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "NET_BIND_SERVICE", "SETGID", "SETUID"),
    )

    network: Literal["isolated", "engine"] = "isolated"
    network_pool: Annotated[IPv4Network, Read(_pool)] = IPv4Network("10.208.0.0/12")

    node_name: str = ""
    region: str = "us-east"
    labels: Annotated[dict[str, str], Read(_labels)] = field(default_factory=dict)
    gpu_count: Annotated[int, Meta(ge=0, le=MAX_GPUS)] | None = None
    gpu_model: str = ""
    reserved_cpu_cores: Annotated[float, Meta(ge=0)] = 0
    reserved_memory_mib: Annotated[int, Meta(ge=0)] = 0
    reserved_storage_gib: Annotated[int, Meta(ge=0)] = 0

    restart_limit: Annotated[int, Meta(ge=0)] = 2
    restart_window_s: Annotated[float, Meta(gt=0)] = 1800
    restart_delay_s: Annotated[float, Meta(ge=0)] = 15
    prepare_retries: Annotated[int, Meta(ge=0)] = 2
    prepare_retry_delay_s: Annotated[float, Meta(ge=0)] = 1
    prepare_longest_pause_s: Annotated[float, Meta(ge=0)] = 300
    stop_grace_s: Annotated[float, Meta(ge=0)] = 10

    reconnect_first_ms: Annotated[int, Meta(ge=1)] = 200
    reconnect_longest_ms: Annotated[int, Meta(ge=1)] = 10_000
    disk_threads: Annotated[int, Meta(ge=1, le=64)] = 4
    disk_sync: bool = True
    simulated_start_ms: Annotated[int, Meta(ge=0)] = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.node_name:
            host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("-._")
            force_setattr(self, "node_name", host[:100] or "node")
        names = [node.name for node in self.nodes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"FOG_NODES: these names are given twice: {', '.join(twice)}")
        if self.join_token is not None and self.join_addr is None:
            raise ValueError("FOG_JOIN_TOKEN needs FOG_JOIN_ADDR, where the gateway takes joins")
        if self.images_low_percent > self.images_high_percent:
            raise ValueError(
                f"FOG_IMAGES_LOW_PERCENT {self.images_low_percent} must not be above "
                f"FOG_IMAGES_HIGH_PERCENT {self.images_high_percent}"
            )
        if not self.gateway_addrs:
            raise ValueError("FOG_GATEWAY_ADDRS names no gateway")
        if not re.fullmatch(_NAME, self.node_name):
            raise ValueError(
                "FOG_NODE_NAME may hold 1 to 100 letters, digits, '.', '-' and '_', "
                "and begins with a letter or a digit"
            )

    @property
    def token(self) -> str:
        """The bearer token; empty for none."""
        return self.agent_token.reveal() if self.agent_token else ""

    @property
    def reserved(self) -> Resources:
        """What of the host is not offered to replicas."""
        return Resources(
            round(self.reserved_cpu_cores * 1000),
            self.reserved_memory_mib,
            self.reserved_storage_gib,
        )

    @property
    def image_rules(self) -> ImageRules:
        """When images are removed."""
        return ImageRules(
            self.images_high_percent,
            self.images_low_percent,
            round(self.images_unused_s * _US_PER_S),
        )

    @property
    def log_rules(self) -> LogRules:
        """How much is kept of the logs of containers that are gone."""
        return LogRules(self.kept_logs, self.kept_logs_mib * _BYTES_PER_MIB)

    @property
    def node_settings(self) -> NodeSettings:
        """How each node's agent behaves."""
        return NodeSettings(
            policy=AgentPolicy(
                restart_limit=self.restart_limit,
                restart_window_us=round(self.restart_window_s * _US_PER_S),
                restart_delay_us=round(self.restart_delay_s * _US_PER_S),
                prepare_retries=self.prepare_retries,
                prepare_retry_delay_us=round(self.prepare_retry_delay_s * _US_PER_S),
                prepare_longest_pause_us=round(self.prepare_longest_pause_s * _US_PER_S),
            ),
            backoff=Backoff(
                first_s=self.reconnect_first_ms / 1000,
                longest_s=self.reconnect_longest_ms / 1000,
            ),
            stop_grace_ms=round(self.stop_grace_s * 1000),
        )
