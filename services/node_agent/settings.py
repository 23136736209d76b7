"""The agent's settings, from the environment (prefix FOG_)."""

from __future__ import annotations

import json
import re
import socket
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_settings import NoDecode

from fogbank.domain.gpus import MAX_GPUS
from fogbank.domain.resources import Resources
from fogbank.runtime.settings import ListenAddress, Settings, separated
from services.node_agent.app.node import NodeSettings
from services.node_agent.app.session import Backoff
from services.node_agent.core.garbage import ImageRules, LogRules
from services.node_agent.core.restarts import AgentPolicy

# A node's name is a folder's name too.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_US_PER_S = 1_000_000
_BYTES_PER_MIB = 1024 * 1024
# Of the subnet of a deployment on a node: room for 253 replicas.
SUBNET_PREFIX = 24


class NodeDescription(BaseModel):
    """One of a process's nodes: cpu in cores, memory in MiB, storage in GiB, gpu in devices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    region: str = "us-east"
    cpu: float = Field(default=4, gt=0)
    memory: int = Field(default=8192, gt=0)
    storage: int = Field(default=100, ge=0)
    gpu: int = Field(default=0, ge=0)
    gpu_model: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    data_dir: Path | None = None

    @property
    def capacity(self) -> Resources:
        """What the node has."""
        return Resources(round(self.cpu * 1000), self.memory, self.storage, self.gpu * 1000)


_NODES = TypeAdapter(tuple[NodeDescription, ...])


def _nodes(value: Any) -> Any:
    """Read a list of nodes from JSON text, naming the entry that is wrong."""
    if not isinstance(value, str):
        return value
    try:
        nodes = _NODES.validate_python(json.loads(value))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{where}: {problem['msg']}" if where else problem["msg"]) from None
    names = [node.name for node in nodes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"these names are given twice: {', '.join(twice)}")
    return nodes


def _capabilities(value: Any) -> Any:
    """Read `CHOWN,cap_setuid`, as people write them."""
    names = [str(name).upper().removeprefix("CAP_") for name in separated(value)]
    if bad := [name for name in names if not re.fullmatch(r"[A-Z_]+", name)]:
        raise ValueError(f"{bad[0]!r} is no name of a capability")
    if "ALL" in names:
        raise ValueError("name the capabilities that are needed; ALL is not for containers")
    return tuple(names)


def _pool(value: IPv4Network) -> IPv4Network:
    if value.prefixlen > SUBNET_PREFIX:
        raise ValueError(f"{value} has no room for a subnet /{SUBNET_PREFIX}")
    return value


def _labels(value: Any) -> Any:
    """Read `key=value,key=value`."""
    if not isinstance(value, str):
        return value
    labels: dict[str, str] = {}
    for part in separated(value):
        key, equals, content = part.partition("=")
        if not key or not equals:
            raise ValueError(f"{part!r} is not key=value")
        labels[key.strip()] = content.strip()
    return labels


class AgentSettings(Settings):
    """What a node agent is told. Spans are in seconds (`_s`) or milliseconds (`_ms`).

    With `nodes` (FOG_NODES_FILE names a JSON file) the process hosts all these nodes, each of the
    size given and in a folder of its own under `data_dir`; without, it is the one node that it
    runs on. `engine_socket` is a path or URL; empty looks where engines usually listen.
    """

    service: ClassVar[str] = "node-agent"

    gateway_addrs: Annotated[tuple[ListenAddress, ...], NoDecode, BeforeValidator(separated)] = (
        "127.0.0.1:50051",
    )
    agent_token: SecretStr | None = None
    join_token: SecretStr | None = None
    join_addr: ListenAddress | None = None
    data_dir: Path = Path(".fogbank/node-agent")
    nodes: Annotated[tuple[NodeDescription, ...], NoDecode, BeforeValidator(_nodes)] = ()
    runtime: Literal["auto", "container", "simulated"] = "auto"
    engine_socket: str = ""
    registry_config: Path | None = None
    images_high_percent: int = Field(default=85, ge=1, le=100)
    images_low_percent: int = Field(default=80, ge=0, le=100)
    images_unused_s: float = Field(default=3600, ge=60)
    kept_logs: int = Field(default=2, ge=0)
    kept_logs_mib: int = Field(default=64, ge=1)
    container_pids: int = Field(default=512, ge=0)
    container_open_files: int = Field(default=1024, ge=0)
    container_user_processes: int = Field(default=1024, ge=0)
    container_capabilities: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_capabilities)] = (
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "NET_BIND_SERVICE", "SETGID", "SETUID"),
    )

    network: Literal["isolated", "engine"] = "isolated"
    network_pool: Annotated[IPv4Network, AfterValidator(_pool)] = IPv4Network("10.208.0.0/12")

    node_name: str = ""
    region: str = "us-east"
    labels: Annotated[dict[str, str], NoDecode, BeforeValidator(_labels)] = Field(
        default_factory=dict
    )
    gpu_count: int | None = Field(default=None, ge=0, le=MAX_GPUS)
    gpu_model: str = ""
    reserved_cpu_cores: float = Field(default=0, ge=0)
    reserved_memory_mib: int = Field(default=0, ge=0)
    reserved_storage_gib: int = Field(default=0, ge=0)

    restart_limit: int = Field(default=2, ge=0)
    restart_window_s: float = Field(default=1800, gt=0)
    restart_delay_s: float = Field(default=15, ge=0)
    prepare_retries: int = Field(default=2, ge=0)
    prepare_retry_delay_s: float = Field(default=1, ge=0)
    prepare_longest_pause_s: float = Field(default=300, ge=0)
    stop_grace_s: float = Field(default=10, ge=0)

    reconnect_first_ms: int = Field(default=200, ge=1)
    reconnect_longest_ms: int = Field(default=10_000, ge=1)
    disk_threads: int = Field(default=4, ge=1, le=64)
    disk_sync: bool = True
    simulated_start_ms: int = Field(default=20, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _name_node(cls, values: dict[str, Any]) -> dict[str, Any]:
        if not values.get("node_name"):
            host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("-._")
            values = values | {"node_name": host[:100] or "node"}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
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
        return self

    @property
    def token(self) -> str:
        """The bearer token; empty for none."""
        return self.agent_token.get_secret_value() if self.agent_token else ""

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
