"""How the project's own services are run: their settings, ports and commands."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fogbank.local.child import ChildSpec
from fogbank.local.data_dir import DataDir, write_json
from fogbank.local.fleet import AgentGroup
from fogbank.local.ports import GRPC_PORT, HOST, HTTP_PORT, Ports
from fogbank.local.secret_files import SecretFiles
from fogbank.local.tls import LocalTls

ADMIN_USER = "admin"
_ALL_INTERFACES = "0.0.0.0"  # noqa: S104  only if other hosts are to call


def python_module(service: str) -> tuple[str, ...]:
    """Return the command that runs a service with this Python."""
    return (sys.executable, "-m", f"services.{service}.main")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything listens."""

    gateways: tuple[str, ...]
    http: tuple[str, ...]
    schedulers: tuple[str, ...]
    ledger: str
    metrics: Mapping[str, str]
    agents: tuple[str, ...]  # where agents connect that have certificates


def choose_addresses(
    ports: Ports, *, grpc_port: int | None, http_port: int | None, gateways: int, schedulers: int
) -> Addresses:
    """Pick a port for each listener; the first gateway gets the two the user asked for.

    Raises:
        LocalError: a port that the user asked for is taken.
    """

    def internal(purpose: str) -> str:
        return f"{HOST}:{ports.internal(purpose)}"

    first = ports.public("grpc", grpc_port, GRPC_PORT, "--grpc-port")
    first_http = ports.public("http", http_port, HTTP_PORT, "--http-port")
    further = range(2, gateways + 1)
    names = [
        *(f"gateway-{number}" for number in range(1, gateways + 1)),
        *(f"scheduler-{number}" for number in range(1, schedulers + 1)),
        "ledger-1",
    ]
    return Addresses(
        gateways=(f"{HOST}:{first}", *(internal(f"gateway-{n}-grpc") for n in further)),
        http=(f"{HOST}:{first_http}", *(internal(f"gateway-{n}-http") for n in further)),
        schedulers=tuple(internal(f"scheduler-{n}-grpc") for n in range(1, schedulers + 1)),
        ledger=internal("ledger-1-grpc"),
        metrics={name: internal(f"{name}-metrics") for name in names},
        agents=tuple(internal(f"gateway-{n}-agents") for n in range(1, gateways + 1)),
    )


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """Everything that the services' settings are made of."""

    data: DataDir
    secrets: SecretFiles
    addresses: Addresses
    nats: Callable[[str], Mapping[str, str]]  # a service's settings that lead to the broker
    database_url: str
    command: Callable[[str], Sequence[str]] = python_module
    tls: LocalTls | None = None  # None: nothing speaks TLS
    host: str = ""  # under which other hosts call the gateways; empty: none does

    def gateways(self) -> list[ChildSpec]:
        """Return how to run each gateway."""
        return [
            self._child(
                "gateway",
                number,
                {
                    "FOG_GRPC_LISTEN": self._open(grpc),
                    "FOG_HTTP_LISTEN": self._open(http),
                    "FOG_TLS_NAMES": self.host,
                    "FOG_LEDGER_ADDR": self.addresses.ledger,
                    "FOG_SCHEDULER_ADDR": self.addresses.schedulers[0],
                    "FOG_JWT_SECRET_FILE": str(self.secrets.jwt_secret),
                    "FOG_AGENT_LISTEN": self._open(agents),
                    "FOG_ADMIN_USER": ADMIN_USER,
                    "FOG_ADMIN_PASSWORD_FILE": str(self.secrets.admin_password),
                    "FOG_SEALING_KEY_FILE": str(self.secrets.sealing_key),
                    "FOG_DATABASE_URL": self.database_url,
                }
                | self._agent_token(),
            )
            for number, (grpc, http, agents) in enumerate(
                zip(
                    self.addresses.gateways, self.addresses.http, self.addresses.agents, strict=True
                ),
                start=1,
            )
        ]

    def _open(self, address: str) -> str:
        """Return where a gateway listens for calls to an address of this host."""
        return f"{_ALL_INTERFACES}:{address.rpartition(':')[2]}" if self.host else address

    def outside(self, address: str) -> str:
        """Return the address under which users call: as other hosts do, if any does."""
        return f"{self.host}:{address.rpartition(':')[2]}" if self.host else address

    def _agent_token(self) -> dict[str, str]:
        """Return the token that agents show which have no certificates."""
        return {} if self.tls else {"FOG_AGENT_TOKEN_FILE": str(self.secrets.agent_token)}

    def schedulers(self) -> list[ChildSpec]:
        """Return how to run each scheduler."""
        return [
            self._child(
                "scheduler",
                number,
                {"FOG_GRPC_LISTEN": listen, "FOG_LEDGER_ADDR": self.addresses.ledger},
            )
            for number, listen in enumerate(self.addresses.schedulers, start=1)
        ]

    def ledger(self) -> ChildSpec:
        """Return how to run the ledger."""
        return self._child(
            "ledger",
            1,
            {
                "FOG_GRPC_LISTEN": self.addresses.ledger,
                "FOG_DATABASE_URL": self.database_url,
                "FOG_CHECKPOINT_DIR": str(self.data.checkpoints),
                "FOG_CHECKPOINT_KEY_FILE": str(self.secrets.checkpoint_key),
            },
        )

    def agents(self, groups: Sequence[AgentGroup], engine_url: str = "") -> list[ChildSpec]:
        """Write which nodes each agent process hosts and return how to run them.

        Containers are run by the engine at `engine_url`; if that is empty, they are simulated.
        """
        return [self._agent(group, engine_url) for group in groups]

    def _agent(self, group: AgentGroup, engine_url: str) -> ChildSpec:
        nodes_file = self.data.agents / f"{group.name}.json"
        write_json(
            nodes_file,
            [
                {
                    "name": node.name,
                    "region": node.region,
                    "cpu": node.cpu,
                    "memory": node.memory,
                    "storage": node.storage,
                    "gpu": node.gpu,
                    "gpu_model": node.gpu_model,
                    "labels": node.labels,
                    # By its name, so that it stays itself whichever process hosts it.
                    "data_dir": str(self.data.node_folder(node.name)),
                }
                for node in group.nodes
            ],
        )
        return ChildSpec(
            name=group.name,
            command=tuple(self.command("node_agent")),
            log=self.data.log_file(group.name),
            env=_environment(
                self._to_gateways(),
                {
                    "FOG_NODES_FILE": str(nodes_file),
                    "FOG_DATA_DIR": str(self.data.agents / group.name),
                    "FOG_RUNTIME": "container" if engine_url else "simulated",
                    "FOG_ENGINE_SOCKET": engine_url,
                    "FOG_INSTANCE": _instance(group.name),
                    "FOG_METRICS_LISTEN": f"{HOST}:0",
                    "FOG_LOG_FORMAT": "json",
                },
            ),
            stop_timeout_s=3,
        )

    def _to_gateways(self) -> dict[str, str]:
        """Return where agents call, and what they show there."""
        if self.tls is None:
            return {"FOG_GATEWAY_ADDRS": ",".join(self.addresses.gateways)} | self._agent_token()
        settings = {"FOG_GATEWAY_ADDRS": ",".join(self.addresses.agents)}
        if self.secrets.join_token.exists():
            settings["FOG_JOIN_ADDR"] = self.addresses.gateways[0]
            settings["FOG_JOIN_TOKEN_FILE"] = str(self.secrets.join_token)
        return settings

    def _child(self, service: str, number: int, settings: Mapping[str, str]) -> ChildSpec:
        name = f"{service}-{number}"
        return ChildSpec(
            name=name,
            command=tuple(self.command(service)),
            log=self.data.log_file(name),
            env=_environment(
                self.nats(service),
                self.tls.service(service) if self.tls else {},
                {
                    "FOG_SERVICE_TOKEN_FILE": str(self.secrets.service_token),
                    "FOG_INSTANCE": name,
                    "FOG_METRICS_LISTEN": self.addresses.metrics[name],
                    "FOG_LOG_FORMAT": "json",
                },
                settings,
            ),
        )


def _instance(name: str) -> str:
    """Return the name as an instance may be called."""
    return name.replace(".", "-")


# Meant for the command line or for us, and something else to a service.
_NOT_INHERITED = frozenset({"FOG_ADDR", "FOG_TOKEN", "FOG_DATA_DIR", "API_HOST", "API_PORT"})
_FILE = "_FILE"


def _environment(*settings: Mapping[str, str]) -> dict[str, str]:
    """Return a child's environment: ours, so that a user's settings reach it, and these.

    A secret that is given as a file replaces one given as text, and the other way round.
    """
    ours = {name: value for part in settings for name, value in part.items()}
    replaced = {
        name.removesuffix(_FILE) if name.endswith(_FILE) else f"{name}{_FILE}" for name in ours
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and name not in replaced
    }
    # The services' packages are found where ours are, whatever the current folder.
    root = str(Path(__file__).parents[2])
    path = inherited.get("PYTHONPATH")
    return (
        inherited
        | {
            "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
            # Output reaches the log file line by line.
            "PYTHONUNBUFFERED": "1",
        }
        | ours
    )
