"""Callers: they create, scale, update, go back and delete.

They repeat what was not answered and remember every answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any
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
from fogbank.domain.ids import command_event_id
from fogbank.domain.rollouts import as_wanted
from services.gateway.app.deployments import Accepted
from services.gateway.app.principal import Principal, Role
from services.gateway.core import commands
from tests.simulation.actors import Cluster, GatewayActor
from tests.simulation.loop import pause
from tests.simulation.plan import Plan
from tests.simulation.sharing import as_tenant
from tests.simulation.wishes import (
    Command,
    Kind,
    Owned,
    Wish,
    a_change,
    a_deployment,
    never_rests,
)

_METHODS: dict[Kind, str] = {
    "create": commands.CREATE,
    "scale": commands.SCALE,
    "delete": commands.DELETE,
    "update": commands.UPDATE,
    "undo": commands.ROLLBACK,
}
_TRIES = 5
_LAST_TRIES = 60
# An update that meets others goes into the log under further ids, so many in all.
_IDS_OF_AN_UPDATE = 5
# So long a caller waits in the end for what fails to be rolled back, in seconds.
_PATIENCE_S = {
    "usual": 150.0,
    "brief": 50.0,
    "changes": 100.0,
    "shared": 100.0,
    "canary": 5.0,
    "flipped": 5.0,
}


class Client:
    """One caller with deployments of its own; one command at a time, but for bursts."""

    def __init__(self, cluster: Cluster, number: int, plan: Plan) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._random = cluster.world.chance(f"client/{number}")
        # Drawn apart: what was added later moves nothing else.
        self._apart = cluster.world.chance(f"client/{number}/apart")
        self._later = cluster.world.chance(f"client/{number}/updates")
        self._plan = plan
        self.name = f"client-{number}"
        self.user_id = str(UUID(int=self._random.getrandbits(128), version=4))
        self._shared = cluster.world.chance(f"client/{number}/sharing")
        self._bursts = cluster.world.chance(f"client/{number}/bursts")
        self._principal = Principal(self.user_id, Role.ADMIN if plan.sharing else Role.USER)
        self._asked: set[str] = set()
        self.owned: list[Owned] = []
        self.acknowledged: list[Acknowledged] = []

    async def run(self, until_s: float) -> None:
        """Make requests until an instant."""
        while self._world.loop.time() < until_s:
            await pause(self._random.expovariate(1 / self._plan.pause_s))
            await self._one()

    async def finish(self) -> None:
        """Bring everything to a known end: repeat what is open, delete what never rests."""
        for owned in self.owned:
            if owned.open is not None:
                await self._issue(owned, owned.open, _LAST_TRIES)
        await self._wait_for_rollbacks()
        for owned in self._restless():
            await self._issue(owned, self._command("delete", owned, 0), _LAST_TRIES)
        for owned in self.owned:
            if owned.open is not None:
                self._world.problem(
                    f"{self.name}: the {owned.open.kind} of {owned.id} is never answered"
                )

    async def _wait_for_rollbacks(self) -> None:
        """Leave rounds the time to go back from what fails, where they are to."""
        ends_s = self._world.loop.time() + _PATIENCE_S[self._plan.profile]
        while self._world.loop.time() < ends_s and any(
            owned.spec.rollout.auto_rollback and len(owned.wish.revisions) > 1
            for owned in self._restless()
        ):
            await pause(1.0)

    def _restless(self) -> list[Owned]:
        """Return the deployments of which the log wants replicas that fail for ever."""
        fleets = [each.fold.fleet for each in self._cluster.gateways if each.fold is not None]
        newest = max(fleets, key=lambda fleet: fleet.position, default=None)
        found = []
        for owned in self.owned:
            spec = owned.spec
            if newest is not None and owned.id in newest.facts.deployments:
                spec = as_wanted(newest, newest.facts.deployments[owned.id]).spec
            if never_rests(spec) and not owned.deleted:
                found.append(owned)
        return found

    # --- choosing -----------------------------------------------------------------------------

    async def _one(self) -> None:
        random = self._random
        if self._bursts.random() < self._plan.bursts:
            await self._burst()
            return
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
        if owned.version and self._later.random() < self._plan.updates:
            # Mostly it waits to see what becomes of replicas that fail.
            if not never_rests(owned.spec) or self._later.random() < 0.1:
                await self._update(owned)
            return
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
        name = f"{self.name}-{len(self.owned)}"
        spec = a_deployment(name, random, self._apart, self._later, self._plan)
        if self._plan.sharing is not None:
            spec = as_tenant(spec, self._shared, self._cluster.cluster_ids, self._plan.sharing)
        request_id = self._next_request()
        name = f"{self.user_id}\nCreateDeployment\n{request_id}"
        deployment_id = str(uuid5(UUID("6f6ce9a5-32f5-5a0e-9a0b-5d9b2e7f3c11"), name))
        owned = Owned(deployment_id, Wish(spec), spec.replicas)
        self.owned.append(owned)
        command = Command("create", request_id, deployment_id, spec, spec.replicas)
        await self._issue(owned, command, _TRIES)

    async def _burst(self) -> None:
        """Delete some and create others at once, so that one round may see them together."""
        random = self._bursts
        idle = [each for each in self.owned if each.version and each.open is None]
        going = [each for each in idle if not each.deleted]
        going = random.sample(going, min(len(going), random.choice((1, 2))))
        await asyncio.gather(
            *(self._issue(owned, self._command("delete", owned, 0), _TRIES) for owned in going),
            *(self._create() for _ in range(random.choice((1, 2, 3)))),
        )

    def _next_request(self) -> str:
        request_id = str(UUID(int=self._random.getrandbits(128), version=4))
        self._asked.add(request_id)
        return request_id

    def asked(self) -> set[str]:
        """Return the ids of all events that what was asked for may be in the log under."""
        names = {
            f"{asked}#{tried}" if tried else asked
            for asked in self._asked
            for tried in range(_IDS_OF_AN_UPDATE)
        }
        return {
            command_event_id(self.user_id, method, name)
            for method in _METHODS.values()
            for name in names
        }

    def _command(self, kind: Kind, owned: Owned, replicas: int) -> Command:
        return Command(kind, self._next_request(), owned.id, owned.spec, replicas)

    async def _update(self, owned: Owned) -> None:
        """Change what runs, or go back; now and then only the version that was last answered."""
        later = self._later
        undo = len(owned.wish.revisions) > 1 and later.random() < 0.25
        command = self._command("undo" if undo else "update", owned, owned.replicas)
        if undo:
            # Which one a return without a number leads to, no caller can know: updates fail.
            command.to_revision = len(owned.wish.revisions) - 1
        else:
            command.change = a_change(owned.spec, later)
        expects = later.random()
        if expects < 0.2 and not owned.doubtful:
            command.expected = owned.version
        elif expects < 0.3:
            await self._outdated(owned, command)
            return
        await self._issue(owned, command, _TRIES)

    async def _outdated(self, owned: Owned, command: Command) -> None:
        """Update a version that is none any more: it must be refused."""
        command.expected = owned.version - 1
        try:
            await self._gateway().call(lambda at: self._call(at, command), self.name)
        except (AbortedError, UnavailableError, ResourceExhaustedError, TimeoutError):
            return
        except FogError as error:
            if not owned.doubtful:
                self._world.problem(f"{self.name}: an outdated update gets {error!r}")
            return
        self._world.problem(f"{self.name}: an update of an outdated {owned.id} is accepted")

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
            case "update":
                assert at.updates is not None
                return at.updates.update(
                    self._principal,
                    command.deployment_id,
                    command.change.applied,
                    command.change.content,
                    request_id=command.request_id,
                    expected_version=command.expected,
                )
            case "undo":
                assert at.updates is not None
                return at.updates.undo(
                    self._principal,
                    command.deployment_id,
                    command.to_revision,
                    command.request_id,
                    command.expected,
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
        self.acknowledged.append(self._promise(command, accepted))
        owned.version = max(owned.version, accepted.version)
        match command.kind:
            case "delete":
                owned.deleted = True
            case "update":
                owned.wish.change(command.change)
            case "undo":
                owned.wish.go_back()
            case _:
                owned.replicas = command.replicas

    def _promise(self, command: Command, accepted: Accepted) -> Acknowledged:
        method = _METHODS[command.kind]
        if command.kind in {"create", "scale", "delete"}:
            return Acknowledged(
                command.kind,
                command.deployment_id,
                owner_id=self.user_id,
                method=method,
                request_id=command.request_id,
                replicas=command.replicas,
            )
        asked = command.request_id
        names = [asked, *(f"{asked}#{tried}" for tried in range(1, _IDS_OF_AN_UPDATE))]
        ids = [command_event_id(self.user_id, method, name) for name in names]
        event_id = self._cluster.event_at(accepted.version)
        if event_id not in ids:
            self._world.problem(
                f"{self.name}: the {command.kind} of {command.deployment_id} is said to be at "
                f"{accepted.version}, where the log holds {event_id or 'nothing'}"
            )
        return Acknowledged("update", command.deployment_id, event_id=event_id or ids[0])

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


def _renamed(spec: DeploymentSpec) -> DeploymentSpec:
    return replace(spec, name=spec.name + "-other")
