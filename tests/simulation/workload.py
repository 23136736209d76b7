"""Callers: they create, scale, delete, repeat what was not answered, remember every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID, uuid5

from fogbank.checker import Acknowledged
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.errors import (
    AbortedError,
    AlreadyExistsError,
    FogError,
    ResourceExhaustedError,
    UnavailableError,
)
from fogbank.domain.resources import Resources
from fogbank.domain.states import RestartPolicy, ServiceType
from fogbank.placement.strategies import STRATEGIES
from services.gateway.app.deployments import Accepted
from services.gateway.app.principal import Principal
from tests.simulation.actors import Cluster, GatewayActor
from tests.simulation.loop import pause

_METHODS = {"create": "CreateDeployment", "scale": "ScaleDeployment", "delete": "DeleteDeployment"}
_STRATEGIES = sorted(STRATEGIES)
_TRIES = 5
_LAST_TRIES = 60


@dataclass(slots=True)
class Command:
    """What a caller wants once, and what it was told about it.

    `versions` are the positions that answers named: a repeat gets the first one's answer.
    """

    kind: Literal["create", "scale", "delete"]
    request_id: str
    deployment_id: str
    spec: DeploymentSpec
    replicas: int
    versions: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Owned:
    """A deployment as its owner knows it; `doubtful` once a command was given up unanswered."""

    id: str
    spec: DeploymentSpec
    replicas: int
    version: int = 0
    deleted: bool = False
    doubtful: bool = False
    open: Command | None = None


class Client:
    """One caller with deployments of its own; one command at a time."""

    def __init__(self, cluster: Cluster, number: int, pause_s: float) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._random = cluster.world.chance(f"client/{number}")
        # Drawn apart: what was added later moves nothing else.
        self._apart = cluster.world.chance(f"client/{number}/apart")
        self._pause_s = pause_s
        self.name = f"client-{number}"
        self.user_id = str(UUID(int=self._random.getrandbits(128), version=4))
        self._principal = Principal(self.user_id)
        self._requests = 0
        self.owned: list[Owned] = []
        self.acknowledged: list[Acknowledged] = []

    async def run(self, until_s: float) -> None:
        """Make requests until an instant."""
        while self._world.loop.time() < until_s:
            await pause(self._random.expovariate(1 / self._pause_s))
            await self._one()

    async def finish(self) -> None:
        """Bring everything to a known end: repeat what is open, delete what never rests."""
        for owned in self.owned:
            if owned.open is not None:
                await self._issue(owned, owned.open, _LAST_TRIES)
            if owned.spec.container_image.startswith("crash") and not owned.deleted:
                await self._issue(owned, self._command("delete", owned, 0), _LAST_TRIES)
            if owned.open is not None:
                self._world.problem(
                    f"{self.name}: the {owned.open.kind} of {owned.id} is never answered"
                )

    # --- choosing -----------------------------------------------------------------------------

    async def _one(self) -> None:
        random = self._random
        mine = [each for each in self.owned if not each.deleted]
        if not mine or random.random() < 0.35:
            await self._create()
            return
        owned = random.choice(mine)
        if owned.open is not None:
            if random.random() < 0.7:
                await self._issue(owned, owned.open, _TRIES)
                return
            if owned.open.kind == "create":
                return
            owned.open, owned.doubtful = None, True
        chance = random.random()
        if chance < 0.1 and owned.version:
            await self._misuse(owned)
        elif chance < 0.2 and owned.version and not owned.doubtful:
            await self._race(owned)
        elif chance < 0.5:
            await self._issue(owned, self._command("delete", owned, 0), _TRIES)
        else:
            replicas = random.choice((1, 1, 2, 3, 5))
            await self._issue(owned, self._command("scale", owned, replicas), _TRIES)

    async def _create(self) -> None:
        random = self._random
        spec = DeploymentSpec(
            name=f"{self.name}-{len(self.owned)}",
            type=ServiceType.COMPUTE,
            container_image=random.choice(("web", "web", "web", "flaky:5", "job:4", "crash:3")),
            replicas=random.choices((1, 2, 3, 5), (5, 3, 2, 1))[0],
            resources=Resources(
                random.choice((200, 500, 900, 1500)),
                random.choice((256, 512, 1024)),
                1,
                self._apart.choice((0, 0, 0, 0, 0, 0, 250, 500, 1000)),
            ),
            strategy=self._apart.choice(("", "", "", self._apart.choice(_STRATEGIES))),
            region=random.choice(("us-east", "us-west")),
            priority=random.choice((0, 20, 50, 80)),
            wait_for_capacity=random.random() < 0.4,
            allow_colocation=random.random() < 0.3,
            restart=RestartPolicy.ALWAYS,
        )
        if spec.container_image.startswith("job"):
            spec = _never_again(spec)
        request_id = self._next_request()
        name = f"{self.user_id}\nCreateDeployment\n{request_id}"
        deployment_id = str(uuid5(UUID("6f6ce9a5-32f5-5a0e-9a0b-5d9b2e7f3c11"), name))
        owned = Owned(deployment_id, spec, spec.replicas)
        self.owned.append(owned)
        command = Command("create", request_id, deployment_id, spec, spec.replicas)
        await self._issue(owned, command, _TRIES)

    def _next_request(self) -> str:
        self._requests += 1
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def _command(self, kind: Literal["scale", "delete"], owned: Owned, replicas: int) -> Command:
        return Command(kind, self._next_request(), owned.id, owned.spec, replicas)

    async def _misuse(self, owned: Owned) -> None:
        """Use an old version or an old request id: both must be refused."""
        gateway = self._gateway()
        spec = owned.spec
        stale = self._random.random() < 0.5 and not owned.doubtful

        async def scale(at: GatewayActor) -> Accepted:
            assert at.deployments is not None
            request = self._next_request()
            return await at.deployments.scale(
                self._principal, owned.id, 1, request, owned.version - 1
            )

        async def clash(at: GatewayActor) -> Accepted:
            assert at.deployments is not None
            other = _renamed(spec)
            return await at.deployments.create(self._principal, other, None, owned_request)

        owned_request = self._first_request(owned)
        try:
            await gateway.call(scale if stale else clash, self.name)
        except (AbortedError, AlreadyExistsError):
            return
        except (UnavailableError, ResourceExhaustedError, TimeoutError):
            return
        except FogError as error:
            self._world.problem(f"{self.name}: a misuse of {owned.id} is answered {error!r}")
            return
        what = "an outdated version" if stale else "a used request id"
        self._world.problem(f"{self.name}: {what} of {owned.id} is accepted")

    async def _race(self, owned: Owned) -> None:
        """Change one version twice at once: at most one of the changes may count."""
        expected = owned.version
        commands = [self._command("scale", owned, number) for number in (1, 4)]
        doubtful = False

        async def change(command: Command) -> None:
            nonlocal doubtful
            try:
                accepted = await self._gateway().call(
                    lambda at: self._change(at, command, expected), self.name
                )
            except (UnavailableError, ResourceExhaustedError, TimeoutError):
                doubtful = True
            except AbortedError:
                return
            except FogError as error:
                self._world.problem(f"{self.name}: a race for {owned.id} ends in {error!r}")
            else:
                self._accepted(owned, command, accepted)

        await asyncio.gather(*(change(command) for command in commands))
        owned.doubtful = owned.doubtful or doubtful
        if sum(bool(command.versions) for command in commands) > 1:
            self._world.problem(f"{self.name}: both changes of one version of {owned.id} count")

    def _change(
        self, at: GatewayActor, command: Command, expected: int
    ) -> Coroutine[Any, Any, Accepted]:
        assert at.deployments is not None
        return at.deployments.scale(
            self._principal, command.deployment_id, command.replicas, command.request_id, expected
        )

    def _first_request(self, owned: Owned) -> str:
        return next(
            each.request_id
            for each in self.acknowledged
            if each.deployment_id == owned.id and each.command == "create"
        )

    # --- asking -------------------------------------------------------------------------------

    def _gateway(self) -> GatewayActor:
        return self._random.choice(self._cluster.gateways)

    async def _issue(self, owned: Owned, command: Command, tries: int) -> None:
        """Ask until there is an answer; a command without one stays open."""
        owned.open = command
        for _ in range(tries):
            asks = [self._ask(owned, command, self._gateway())]
            if self._random.random() < 0.15:
                asks.append(self._ask(owned, command, self._gateway()))
            answers = await asyncio.gather(*asks)
            if any(answers):
                owned.open = None
                return
            await pause(self._random.uniform(0.2, 3.0))

    async def _ask(self, owned: Owned, command: Command, gateway: GatewayActor) -> bool:
        """Ask one gateway; True if it answered."""
        try:
            accepted = await gateway.call(lambda at: self._call(at, command), self.name)
        except (UnavailableError, ResourceExhaustedError, TimeoutError) as error:
            self._world.tell(self.name, f"{command.kind} {owned.id}: {type(error).__name__}")
            return False
        except FogError as error:
            self._refused(owned, command, error)
            return True
        self._accepted(owned, command, accepted)
        return True

    def _call(self, at: GatewayActor, command: Command) -> Coroutine[Any, Any, Accepted]:
        deployments = at.deployments
        assert deployments is not None
        match command.kind:
            case "create":
                return deployments.create(self._principal, command.spec, None, command.request_id)
            case "scale":
                return deployments.scale(
                    self._principal, command.deployment_id, command.replicas, command.request_id
                )
            case "delete":
                return deployments.delete(
                    self._principal, command.deployment_id, command.request_id
                )

    def _accepted(self, owned: Owned, command: Command, accepted: Accepted) -> None:
        self._world.tell(self.name, f"{command.kind} {owned.id} accepted at {accepted.version}")
        command.versions.append(accepted.version)
        if accepted.version != command.versions[0]:
            self._world.problem(
                f"{self.name}: one {command.kind} of {owned.id} has two answers: {command.versions}"
            )
        if len(command.versions) > 1:
            return
        if accepted.deployment_id != owned.id:
            self._world.problem(f"{self.name}: {owned.id} is called {accepted.deployment_id}")
        self.acknowledged.append(
            Acknowledged(
                command.kind,
                owned.id,
                owner_id=self.user_id,
                method=_METHODS[command.kind],
                request_id=command.request_id,
                replicas=command.replicas,
            )
        )
        owned.version = max(owned.version, accepted.version)
        if command.kind == "delete":
            owned.deleted = True
        else:
            owned.replicas = command.replicas

    def _refused(self, owned: Owned, command: Command, error: FogError) -> None:
        self._world.tell(self.name, f"{command.kind} {owned.id} refused: {error.reason}")
        if command.versions:
            self._world.problem(
                f"{self.name}: the {command.kind} of {owned.id} was accepted and is refused "
                f"when repeated: {error!r}"
            )
        elif not owned.doubtful:
            self._world.problem(f"{self.name}: the {command.kind} of {owned.id}: {error!r}")
        elif error.reason in {"DEPLOYMENT_NOT_FOUND", "DEPLOYMENT_DELETED"}:
            owned.deleted = True


def _never_again(spec: DeploymentSpec) -> DeploymentSpec:
    values = {name: getattr(spec, name) for name in spec.__slots__}
    return DeploymentSpec(**{**values, "restart": RestartPolicy.NEVER})


def _renamed(spec: DeploymentSpec) -> DeploymentSpec:
    values = {name: getattr(spec, name) for name in spec.__slots__}
    return DeploymentSpec(**{**values, "name": spec.name + "-other"})
