"""What a replica's container is made of, and how one is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fogbank.domain.containers import ContainerSpec, PortProtocol, PublishedPort
from services.node_agent.core.replica import ReplicaSpec

NODE = "fogbank.node"
REPLICA = "fogbank.replica"
RESTART = "fogbank.restart"
DEPLOYMENT = "fogbank.deployment"
DEPLOYMENT_NAME = "fogbank.deployment-name"

# What images of ordinary servers need to take a port below 1024 and to leave root behind.
ORDINARY_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "NET_BIND_SERVICE", "SETGID", "SETUID")

_MIB = 1024 * 1024
_NANO_CPUS_PER_MILLICORE = 1_000_000
# Engines refuse less than these.
_LEAST_MILLICORES = 10
_LEAST_MEMORY_MIB = 6
_LOG_SIZE = "10m"
_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """What no container may exceed, whatever its deployment asks for; 0 leaves it to the engine."""

    pids: int = 512
    open_files: int = 1024
    user_processes: int = 1024
    capabilities: tuple[str, ...] = ORDINARY_CAPABILITIES


def container_name(replica_id: str) -> str:
    """Return the name of a replica's container; an engine has each name once."""
    return f"replica-{replica_id}"


def container_config(
    node_id: str,
    replica_id: str,
    restart_count: int,
    spec: ReplicaSpec,
    *,
    limits: ContainerLimits,
    most_millicores: int,
    network: str = "",
) -> dict[str, Any]:
    """Return what the engine is to make; its volumes and its network are to be there already.

    Args:
        node_id: the node whose container it is.
        replica_id: the replica.
        restart_count: which start of it.
        spec: what to run, and its share of the machine.
        limits: what it may not exceed.
        most_millicores: processors of the engine's machine; some refuse a limit above them.
        network: the engine's name of it; empty for its default one.
    """
    millicores = max(_LEAST_MILLICORES, spec.resources.cpu_millicores)
    memory = max(_LEAST_MEMORY_MIB, spec.resources.memory_mib) * _MIB
    return {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        **_unlike_the_image(spec.container),
        "Labels": {
            NODE: node_id,
            REPLICA: replica_id,
            RESTART: str(restart_count),
            DEPLOYMENT: spec.deployment_id,
            DEPLOYMENT_NAME: spec.deployment_name,
        },
        "HostConfig": {
            "NanoCpus": min(millicores, most_millicores) * _NANO_CPUS_PER_MILLICORE,
            # Every port at a free one of the host, on all of its addresses.
            "PortBindings": {key: [{"HostPort": ""}] for key in _port_keys(spec.container)},
            "Binds": [
                f"{volume_name(node_id, spec.deployment_id, volume.name)}:{volume.path}"
                f":{'ro' if volume.read_only else 'rw'}"
                for volume in spec.container.volumes
            ],
            "Memory": memory,
            # The same as the memory: no swap beyond it.
            "MemorySwap": memory,
            **({"NetworkMode": network} if network else {}),
            "PidsLimit": limits.pids or None,
            "Ulimits": [
                {"Name": name, "Soft": most, "Hard": most}
                for name, most in (("nofile", limits.open_files), ("nproc", limits.user_processes))
                if most
            ],
            # The same devices that the placement counts; the engine's own driver makes them appear.
            "DeviceRequests": [_gpus(spec.gpu_devices)] if spec.gpu_devices else None,
            "Privileged": False,
            "CapDrop": ["ALL"],
            "CapAdd": list(limits.capabilities),
            "SecurityOpt": ["no-new-privileges"],
            # The agent restarts, and counts; the engine must not.
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": _LOG_SIZE}},
        },
    }


def volume_name(node_id: str, deployment_id: str, name: str) -> str:
    """Return the engine's name for a deployment's volume on a node."""
    return f"fogbank-{node_id}-{deployment_id}-{name}"


def network_name(node_id: str, deployment_id: str) -> str:
    """Return the engine's name for a deployment's network on a node."""
    return f"fogbank-{node_id}-{deployment_id}"


def _unlike_the_image(container: ContainerSpec) -> dict[str, Any]:
    """Return what the image says otherwise, or not at all."""
    changes: dict[str, Any] = {}
    if container.command:
        # The image's entry point, if it has one, would take these for arguments.
        changes |= {"Entrypoint": list(container.command[:1]), "Cmd": list(container.command[1:])}
    if container.ports:
        changes["ExposedPorts"] = {key: {} for key in _port_keys(container)}
    if container.stop_signal:
        changes["StopSignal"] = container.stop_signal
    return changes


def _port_keys(container: ContainerSpec) -> list[str]:
    return [f"{port.number}/{port.protocol.name.lower()}" for port in container.ports]


def _gpus(devices: tuple[int, ...]) -> dict[str, Any]:
    return {"DeviceIDs": [str(device) for device in devices], "Capabilities": [["gpu"]]}


@dataclass(frozen=True, slots=True)
class Shown:
    """A container as the engine shows it. `started_at_us` is 0 for one that never started.

    `pid` is of its first process, as the engine's host numbers them; 0 for none.
    """

    id: str
    node_id: str
    replica_id: str
    restart_count: int
    running: bool
    started_at_us: int
    exit_code: int
    out_of_memory: bool
    stop_signal: str
    address: str = ""
    ports: tuple[PublishedPort, ...] = ()
    deployment_id: str = ""
    pid: int = 0

    @property
    def started(self) -> bool:
        """Tell whether it ever ran."""
        return self.started_at_us > 0

    @property
    def why_ended(self) -> str:
        """Say what the exit code doesn't."""
        return "OOMKilled: it needed more memory than it may use" if self.out_of_memory else ""


def read_container(content: Mapping[str, Any]) -> Shown:
    """Read what the engine says of one container."""
    state, config = content["State"], content["Config"]
    labels = config.get("Labels") or {}
    status = state.get("Status", "")
    # One that could not be started has an exit code and an end, and never ran.
    never = status in {"created", "configured", "initialized"}
    return Shown(
        id=content["Id"],
        node_id=labels.get(NODE, ""),
        replica_id=labels.get(REPLICA, ""),
        restart_count=_number(labels.get(RESTART)),
        running=bool(state.get("Running")),
        started_at_us=0 if never else instant_us(state.get("StartedAt", "")),
        exit_code=int(state.get("ExitCode", 0)),
        out_of_memory=bool(state.get("OOMKilled")),
        stop_signal=str(config.get("StopSignal") or "SIGTERM"),
        address=_own_address(content.get("NetworkSettings") or {}),
        ports=_published(content.get("NetworkSettings") or {}),
        deployment_id=labels.get(DEPLOYMENT, ""),
        pid=int(state.get("Pid") or 0),
    )


def _own_address(network: Mapping[str, Any]) -> str:
    """Return the container's address in one of its networks; empty if it has none of its own."""
    networks = (network.get("Networks") or {}).values()
    addresses = [network.get("IPAddress"), *(each.get("IPAddress") for each in networks)]
    return next((str(address) for address in addresses if address), "")


def _published(network: Mapping[str, Any]) -> tuple[PublishedPort, ...]:
    found = set()
    for key, bindings in (network.get("Ports") or {}).items():
        number, _, protocol = key.partition("/")
        if protocol.upper() in PortProtocol.__members__:
            found |= {
                (int(number), PortProtocol[protocol.upper()], int(binding["HostPort"]))
                for binding in bindings or ()
                if binding.get("HostPort")
            }
    return tuple(PublishedPort(*each) for each in sorted(found))


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def restart_of(labels: Mapping[str, str]) -> int:
    """Return which start of its replica a container is, by its labels."""
    return _number(labels.get(RESTART))


def instant_us(text: str) -> int:
    """Read the engine's timestamp (nanoseconds and all); 0 for none or for its year 1."""
    if not text or text.startswith("0001-"):
        return 0
    whole, _, zone = text.replace("Z", "+00:00").partition(".")
    if zone:
        digits = len(zone) - len(zone.lstrip("0123456789"))
        whole = f"{whole}.{zone[:digits][:6]:0<6}{zone[digits:]}"
    seconds = datetime.fromisoformat(whole)
    return round(seconds.timestamp() * _US_PER_S)
