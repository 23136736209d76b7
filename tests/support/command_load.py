"""A load of commands: clients that submit, scale and delete, and keep what they were promised.

Each command has a request id and is sent again with the same one until it is answered, as every
well-behaved client does. What was acknowledged is written down, one JSON object on each line, in
the form that `fog audit check --acknowledged` reads.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
import jwt

from fogbank.checker import Acknowledged
from fogbank.v1 import deployment_service_pb2 as service_pb2
from fogbank.v1 import deployments_pb2, resources_pb2
from tests.support.fog_up import FogUp
from tests.support.grpc_user import GrpcUser, grpc_admin
from tests.support.waiting import eventually_sync

T = TypeVar("T")

_CHUNK = 10
# A whole system that starts again takes minutes on a machine with much else to do.
PATIENCE_S = 600.0
# Between two commands of a client, so that a load lasts long enough to be disturbed.
PACE_S = 0.02


@dataclass(frozen=True, slots=True)
class Wish:
    """What becomes of one deployment: created, then perhaps scaled or deleted."""

    name: str
    first: int
    scaled: int = 0
    deleted: bool = False

    @property
    def last(self) -> int:
        """How many replicas are to run in the end."""
        return 0 if self.deleted else self.scaled or self.first

    @property
    def commands(self) -> int:
        """How many commands it takes."""
        return 1 + bool(self.scaled) + self.deleted


def a_wish(prefix: str, number: int) -> Wish:
    """Return the wish of a number: a quarter each stays, grows, shrinks and goes."""
    name = f"{prefix}-{number:03}"
    match number % 4:
        case 0:
            return Wish(name, 1 + number % 8 // 4)
        case 1:
            return Wish(name, 1, scaled=3)
        case 2:
            return Wish(name, 2, scaled=1)
        case _:
            # Half of these are scaled before they go.
            return Wish(name, 1, scaled=2 * (number % 8 == 3), deleted=True)


@dataclass
class Record:
    """What was acknowledged to a user, in order; kept in a file too, as lines of JSON."""

    owner_id: str
    path: Path
    promises: list[Acknowledged] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)  # name to deployment id
    wishes: dict[str, Wish] = field(default_factory=dict)  # name to what was asked for
    longest_gap_s: float = 0.0
    _last: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, promise: Acknowledged, wish: Wish) -> None:
        """Note an acknowledgement."""
        with self._lock:
            now = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, now - self._last)
            self._last = now
            self.promises.append(promise)
            self.ids[wish.name] = promise.deployment_id
            self.wishes[wish.name] = wish
            with self.path.open("a") as file:
                file.write(json.dumps(asdict(promise)) + "\n")

    def begin(self) -> None:
        """Count gaps from now on."""
        with self._lock:
            self._last = time.monotonic()


class Client(threading.Thread):
    """Sends its share of the commands, one after the other."""

    def __init__(
        self, user: GrpcUser, wishes: Sequence[Wish], record: Record, pace_s: float
    ) -> None:
        super().__init__(daemon=True)
        self._user = user
        self._pace_s = pace_s
        self._wishes = wishes
        self._record = record
        self._stopped = threading.Event()
        self.error: Exception | None = None

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped.set()

    def run(self) -> None:
        """Create in chunks, every other one as a batch; change each chunk after the next one."""
        try:
            before: Sequence[Wish] = ()
            for start in range(0, len(self._wishes), _CHUNK):
                chunk = self._wishes[start : start + _CHUNK]
                if start // _CHUNK % 2:
                    self._create_batch(chunk)
                else:
                    for wish in chunk:
                        self._create(wish)
                self._change(before)
                before = chunk
            self._change(before)
        except Exception as error:  # noqa: BLE001  told by the load
            self.error = error

    def _call(self, method: Callable[..., T], request: Any) -> T:
        self._stopped.wait(self._pace_s)
        if self._stopped.is_set():
            raise InterruptedError("told to stop")
        return self._user.call(method, request)

    def _ask(self, wish: Wish) -> service_pb2.CreateDeploymentRequest:
        return service_pb2.CreateDeploymentRequest(
            request_id=f"{wish.name}-create",
            spec=deployments_pb2.DeploymentSpec(
                name=wish.name,
                type=deployments_pb2.SERVICE_TYPE_COMPUTE,
                container_image="nginx:1.24",
                replicas=wish.first,
                resources=resources_pb2.Resources(cpu_millicores=100, memory_mib=64),
                wait_for_capacity=True,
            ),
            # Some have something to keep secret.
            env={"JOB": wish.name} if wish.name.endswith(("0", "5")) else {},
        )

    def _create(self, wish: Wish) -> None:
        answer = self._call(self._user.deployments.CreateDeployment, self._ask(wish))
        self._created(wish, answer.deployment.id)

    def _create_batch(self, wishes: Sequence[Wish]) -> None:
        """Create many at once; those that are refused for now are sent again, the others not."""
        left = list(wishes)

        def attempt() -> bool:
            nonlocal left
            answer = self._call(
                self._user.deployments.CreateDeployments,
                service_pb2.CreateDeploymentsRequest(requests=[self._ask(wish) for wish in left]),
            )
            again = []
            for wish, outcome in zip(left, answer.outcomes, strict=True):
                assert outcome.request_id == f"{wish.name}-create"
                if not outcome.error_reason:
                    self._created(wish, outcome.deployment_id)
                elif outcome.error_reason.endswith("UNAVAILABLE"):
                    again.append(wish)
                else:
                    raise AssertionError(f"{wish.name}: {outcome}")
            left = again
            return not left

        eventually_sync(attempt, PATIENCE_S, what="a whole batch")

    def _created(self, wish: Wish, deployment_id: str) -> None:
        self._promise("create", "CreateDeployment", wish, deployment_id, wish.first, wish.commands)

    def _change(self, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            deployment_id = self._record.ids[wish.name]
            if wish.scaled:
                self._call(
                    self._user.deployments.ScaleDeployment,
                    service_pb2.ScaleDeploymentRequest(
                        request_id=f"{wish.name}-scale",
                        deployment_id=deployment_id,
                        replicas=wish.scaled,
                    ),
                )
                commands = wish.commands - 1
                self._promise(
                    "scale", "ScaleDeployment", wish, deployment_id, wish.scaled, commands
                )
            if wish.deleted:
                self._call(
                    self._user.deployments.DeleteDeployment,
                    service_pb2.DeleteDeploymentRequest(
                        request_id=f"{wish.name}-delete", deployment_id=deployment_id
                    ),
                )
                self._promise("delete", "DeleteDeployment", wish, deployment_id, 0, 1)

    def _promise(
        self, command: str, method: str, wish: Wish, deployment_id: str, replicas: int, left: int
    ) -> None:
        """Note an acknowledgement; `left` counts the wish's commands from this one on."""
        end = "" if left > 1 else "deleted" if wish.deleted else "running"
        self._record.add(
            Acknowledged(
                command,
                deployment_id,
                owner_id=self._record.owner_id,
                method=method,
                request_id=f"{wish.name}-{command}",
                replicas=replicas,
                end=end,
            ),
            wish,
        )


class CommandLoad:
    """Some clients at work."""

    def __init__(self, clients: Sequence[Client], record: Record, commands: int) -> None:
        self._clients = clients
        self.record = record
        self.commands = commands

    @property
    def acknowledged(self) -> int:
        """How many of this load's commands were acknowledged."""
        return len(self.record.promises) - self._before

    def start(self) -> None:
        """Let the clients begin."""
        self._before = len(self.record.promises)
        self.record.begin()
        for client in self._clients:
            client.start()

    def reach(self, share: float, within_s: float = PATIENCE_S) -> None:
        """Wait until a share of the commands, 0 to 1, was acknowledged."""
        wanted = share * self.commands
        eventually_sync(
            lambda: self.acknowledged >= wanted or self._failed,
            within_s,
            what=f"{wanted:.0f} acknowledgements",
        )
        self._raise_errors()

    def go_on(self, within_s: float = PATIENCE_S) -> None:
        """Wait for the next acknowledgement, if there is any to come."""
        self.reach(min((self.acknowledged + 1) / self.commands, 1), within_s)

    def finish(self, within_s: float = PATIENCE_S) -> None:
        """Wait until all commands were acknowledged."""
        deadline = time.monotonic() + within_s
        for client in self._clients:
            client.join(max(deadline - time.monotonic(), 0))
        self._raise_errors()
        assert self.acknowledged == self.commands, (
            f"{self.acknowledged} of {self.commands} acknowledged within {within_s:g} s"
        )

    def stop(self) -> None:
        """End the clients, whatever they are at."""
        for client in self._clients:
            client.stop()
        for client in self._clients:
            client.join(30)

    @property
    def _failed(self) -> bool:
        return any(client.error for client in self._clients)

    def _raise_errors(self) -> None:
        for client in self._clients:
            if client.error is not None:
                raise AssertionError(f"a client ended: {client.error!r}") from client.error


def owner_of(user: GrpcUser) -> str:
    """Return the id of a user who is signed in."""
    claims = jwt.decode(user.token, options={"verify_signature": False})
    return str(claims["sub"])


@contextmanager
def command_load(
    system: FogUp,
    record: Record,
    prefix: str,
    *,
    count: int = 200,
    clients: int = 4,
    pace_s: float = PACE_S,
    patience_s: float = PATIENCE_S,
) -> Iterator[CommandLoad]:
    """Start a load on a system; the clients end with the context.

    The clients take turns among the gateways, each with a connection of its own, and send a
    command again for `patience_s` seconds.
    """
    wishes = [a_wish(prefix, number) for number in range(count)]
    addresses = gateways(system)
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    # Otherwise all channels of a process to one address share a connection.
    options.append(("grpc.use_local_subchannel_pool", 1))
    channels = [
        grpc.insecure_channel(addresses[number % len(addresses)], options=options)
        for number in range(clients)
    ]
    with grpc_admin(system, patience_s) as admin:
        users = [GrpcUser(channel, patience_s) for channel in channels]
        for user in users:
            user.token = admin.token
    share = [wishes[number::clients] for number in range(clients)]
    load = CommandLoad(
        [Client(user, part, record, pace_s) for user, part in zip(users, share, strict=True)],
        record,
        sum(wish.commands for wish in wishes),
    )
    load.start()
    try:
        yield load
    finally:
        load.stop()
        for channel in channels:
            channel.close()


def gateways(system: FogUp) -> list[str]:
    """Return host:port of each gateway."""
    further = [
        f"127.0.0.1:{port}"
        for purpose, port in sorted(system.ports.items())
        if purpose.startswith("gateway-") and purpose.endswith("-grpc")
    ]
    return [system.grpc, *further]


def delete_all(system: FogUp, record: Record, prefix: str, patience_s: float = PATIENCE_S) -> None:
    """Delete what a load left running; part of the record like any other command."""
    with grpc_admin(system, patience_s) as admin:
        record.begin()
        for name, wish in tuple(record.wishes.items()):
            if not name.startswith(f"{prefix}-") or wish.deleted:
                continue
            request_id, deployment_id = f"{name}-end", record.ids[name]
            admin.call(
                admin.deployments.DeleteDeployment,
                service_pb2.DeleteDeploymentRequest(
                    request_id=request_id, deployment_id=deployment_id
                ),
            )
            record.add(
                Acknowledged(
                    "delete",
                    deployment_id,
                    owner_id=record.owner_id,
                    method="DeleteDeployment",
                    request_id=request_id,
                    end="deleted",
                ),
                replace(wish, deleted=True),
            )
