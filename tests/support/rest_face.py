"""The gateway's HTTP face in a test's own process: real use cases over a log in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import UnavailableError
from fogbank.domain.explanations import DeploymentExplanation, DeploymentPlan
from fogbank.domain.policy import Policy
from fogbank.domain.rebalancing import RebalancePlan, RebalanceTerms
from fogbank.domain.views import AsOf
from fogbank.log.group_commit import GroupCommit
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import StoredCommit, Writer
from fogbank.placement import Planner
from fogbank.placement.explanation import explain, plan
from fogbank.placement.rebalance import plan_rebalance
from fogbank.runtime.clock import SystemClock
from services.gateway.adapters.passwords import Argon2Passwords, HashingCost
from services.gateway.adapters.tokens import JwtAccessTokens, SigningKey
from services.gateway.app.clusters import Clusters
from services.gateway.app.command_log import CommandLog
from services.gateway.app.deployments import Deployments
from services.gateway.app.events import Events
from services.gateway.app.fold import FleetFold
from services.gateway.app.genesis import ensure_genesis
from services.gateway.app.identity import Identity, Reused, User
from services.gateway.app.limits import Allowance, Limits
from services.gateway.app.nodes import Nodes
from services.gateway.app.organizations import Organizations
from services.gateway.app.planning import Planning
from services.gateway.app.ports import (
    SchedulerStatus,
)
from services.gateway.app.principal import Principal, Role
from services.gateway.app.queue_room import QueueRoom
from services.gateway.app.rights import Rights
from services.gateway.app.service_accounts import ServiceAccounts
from services.gateway.app.system import System
from services.gateway.app.updates import Updates
from services.gateway.core.commands import create_envelope
from services.gateway.http_api.application import create_app
from services.gateway.http_api.dependencies import HttpDependencies
from tests.support.documented import documented
from tests.support.fleet_log import a_fingerprint, a_spec
from tests.support.fold_ledger import FoldLedger
from tests.support.schedulers import run_loops
from tests.support.statuses import LogStatuses
from tests.support.tenancy import MemoryApiTokens, MemoryDenials, MemoryInvites
from tests.support.waiting import eventually

SECRET = "an-honest-secret-of-more-than-32-bytes"
CHEAP = HashingCost(time_cost=1, memory_kib=8, parallelism=1)

DEPLOY: dict[str, Any] = {
    "name": "web-api",
    "type": "compute",
    "container_image": "nginx:latest",
    "replicas": 3,
    "resources": {"cpu": 2.0, "memory": 2048, "gpu": 0, "storage": 20},
    "region": "us-east",
}


def deploy_body(**changes: Any) -> dict[str, Any]:
    """Return a good deploy body with some fields changed; None takes a field away."""
    body = {**DEPLOY, "resources": dict(DEPLOY["resources"])}
    for name, value in changes.items():
        target = body["resources"] if name in body["resources"] else body
        target[name] = value
        if value is None:
            del target[name]
    return body


class MemoryAccounts(MemoryDenials):
    """Accounts, refresh tokens and denied ids in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._users: dict[str, User] = {}
        self._tokens: dict[bytes, User] = {}
        self._used: set[bytes] = set()
        self._sessions: dict[bytes, str] = {}

    async def add(self, user: User, name_key: str) -> bool:
        return self._users.setdefault(name_key, user) is user

    async def by_name_key(self, name_key: str) -> User | None:
        return self._users.get(name_key)

    async def names(self, user_ids: Collection[str]) -> dict[str, str]:
        return {user.id: user.username for user in self._users.values() if user.id in user_ids}

    async def set_password_hash(self, user_id: str, password_hash: str) -> None: ...

    async def begin(self, user_id: str, token: bytes, now_us: int, expires_at_us: int) -> str:
        (self._tokens[token],) = (user for user in self._users.values() if user.id == user_id)
        return self._sessions.setdefault(token, str(uuid4()))

    async def end(self, session_id: str) -> None:
        for token in [each for each, of in self._sessions.items() if of == session_id]:
            self._tokens.pop(token, None)

    async def rotate(
        self, token: bytes, successor: bytes, now_us: int, expires_at_us: int
    ) -> Principal | Reused | None:
        if token in self._used:
            return Reused(self._sessions[token])
        user = self._tokens.get(token)
        if user is None:
            return None
        self._used.add(token)
        self._tokens[successor] = user
        session_id = self._sessions[successor] = self._sessions[token]
        return Principal(user.id, user.role, session_id)


class MemoryEnvironments:
    """Environments in memory, by a readable key."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, str]] = {}

    def key(self, env: Mapping[str, str]) -> str:
        return f"sealed-{sorted(env.items())}" if env else ""

    async def seal(self, env: Mapping[str, str]) -> str:
        self.kept[self.key(env)] = dict(env)
        return self.key(env)

    async def unseal(self, keys: Collection[str]) -> dict[str, dict[str, str]]:
        return {key: self.kept[key] for key in keys if key in self.kept}


class FakeScheduler:
    """Says what it is told to, and plans from a gateway's fold; `up = False` stops it."""

    def __init__(self, fold: FleetFold) -> None:
        self.up = True
        self.answer = SchedulerStatus("scheduler-1", 7, {"high": 1}, 12, 3, 9, 1)
        self._fold = fold

    async def status(self) -> SchedulerStatus:
        self._require_up()
        return self.answer

    async def plan(self, spec: DeploymentSpec, min_sequence: int = 0) -> AsOf[DeploymentPlan]:
        self._require_up()
        return AsOf(plan(Planner(self._fold.fleet), spec, 0), self._fold.position)

    async def plan_rebalance(
        self, terms: RebalanceTerms, min_sequence: int = 0
    ) -> AsOf[RebalancePlan]:
        self._require_up()
        planner = Planner(self._fold.fleet)
        planned = plan_rebalance(planner.fleet, planner.arrays, terms)
        return AsOf(planned, self._fold.position)

    async def explain(
        self, deployment_id: str, min_sequence: int = 0
    ) -> AsOf[DeploymentExplanation]:
        self._require_up()
        planner = Planner(self._fold.fleet)
        deployment = planner.fleet.facts.deployments[deployment_id]
        return AsOf(explain(planner, deployment, 0), self._fold.position)

    def _require_up(self) -> None:
        if not self.up:
            raise UnavailableError("The scheduler does not answer", retry_after_ms=1000)


class _NoAgents:
    count = 2


@dataclass
class RestFace:
    """The face and what stands behind it."""

    app: FastAPI
    store: MemoryStore
    fold: FleetFold
    ledger: FoldLedger
    scheduler: FakeScheduler
    environments: MemoryEnvironments
    accounts: MemoryAccounts
    tokens: JwtAccessTokens
    log: MemoryLog
    appender: GroupCommit
    api_tokens: MemoryApiTokens
    users: dict[str, str] = field(default_factory=dict)

    def token(self, user: str = "bob", role: Role = Role.USER) -> str:
        """Return a valid access token; the same name is the same user."""
        user_id = self.users.setdefault(user, str(uuid4()))
        return self.tokens.issue(Principal(user_id, role), time.time_ns() // 1000)

    def client(self, user: str | None = "bob", role: Role = Role.USER) -> httpx2.AsyncClient:
        """Return a client signed in as `user`, or as nobody; undocumented answers fail the test."""
        headers = {"Authorization": f"Bearer {self.token(user, role)}"} if user else {}
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx2.AsyncClient(
            transport=transport,
            base_url="http://fogbank.test",
            headers=headers,
            event_hooks={"response": [documented(self.app).check]},
        )

    async def add_nodes(self, *names: str, **fingerprint: Any) -> None:
        """Let nodes shake hands."""
        envelopes = [
            EventEnvelope(
                str(uuid4()),
                ev.NodeConnected(str(uuid4()), name, a_fingerprint(**fingerprint)),
                aggregate=f"node/{name}",
                actor=f"node/{name}",
                occurred_at_us=self.store.clock_us(),
            )
            for name in names
        ]
        data = encode_commit(self.store.clock_us(), [encode_envelope(each) for each in envelopes])
        sequence = await self.log.append(data)
        await eventually(lambda: self.fold.position >= sequence)


async def accepted_elsewhere(face: RestFace, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the id of a deployment that the face reads of once it asks where the log ends."""
    face.token("bob")
    now_us, spec = face.store.clock_us(), a_spec(memory=2048)
    envelope = create_envelope(face.users["bob"], str(uuid4()), spec, "", now_us)
    await append_elsewhere(face, monkeypatch, envelope)
    return envelope.event_id


async def append_elsewhere(
    face: RestFace, monkeypatch: pytest.MonkeyPatch, envelope: EventEnvelope
) -> None:
    """Append a command that the face reads of once it asks where the log ends."""
    read, log_end, known = face.store.slice, face.log.last_sequence, len(face.store.commits)

    def behind(first: int, last: int) -> list[StoredCommit]:
        return read(first, min(last, known))

    async def asked() -> int:
        monkeypatch.setattr(face.store, "slice", read)
        face.store.wake()
        return await log_end()

    monkeypatch.setattr(face.store, "slice", behind)
    monkeypatch.setattr(face.log, "last_sequence", asked)
    commit = encode_commit(face.store.clock_us(), [encode_envelope(envelope)])
    await face.log.append(commit)


def _system(
    fold: FleetFold, appender: GroupCommit, ledger: FoldLedger, scheduler: FakeScheduler
) -> System:
    agents = cast("Any", _NoAgents())
    clock = SystemClock()
    return System(fold, appender, agents, ledger, scheduler, clock=clock, probed_every_s=0.0)


@asynccontextmanager
async def rest_face(
    *,
    max_pending: int = 100_000,
    max_backlog_bytes: int = 1 << 20,
    policy: Policy | None = None,
    **settings: Any,
) -> AsyncIterator[RestFace]:
    """Run the face's loops while the context lasts; `settings` go into its dependencies."""
    store, clock = MemoryStore(), SystemClock()
    log = MemoryLog(store, Writer("gateway", "test"))
    await ensure_genesis(log, clock, "default", policy or Policy())
    fold = FleetFold(log, LogStatuses(log))
    appender = GroupCommit(log, clock, max_backlog_bytes=max_backlog_bytes)
    ledger, scheduler = FoldLedger(fold), FakeScheduler(fold)
    environments, accounts = MemoryEnvironments(), MemoryAccounts()
    command_log = CommandLog(fold, appender)
    room = QueueRoom(fold, max_pending, share=1)
    deployments = Deployments(fold, command_log, ledger, environments, clock, room=room)
    tokens = JwtAccessTokens(SigningKey(SECRET), 1800)
    passwords, api_tokens = Argon2Passwords(CHEAP), MemoryApiTokens()
    identity = Identity(
        *(accounts, accounts, passwords, tokens, accounts),
        api_tokens=api_tokens,
        clock=clock,
        refresh_lifetime_s=3600,
        # All tests' requests come from one address.
        limits=Limits(clock, Allowance(1_000_000, 1_000_000, 1_000_000)),
    )
    dependencies = HttpDependencies(
        deployments,
        Planning(deployments, command_log, scheduler),
        Updates(deployments, fold, command_log, environments, clock),
        Organizations(fold, command_log, accounts, MemoryInvites(), clock),
        Clusters(fold, command_log, ledger, clock),
        ServiceAccounts(api_tokens, accounts, Rights(fold, command_log), clock),
        Nodes(fold, ledger),
        identity,
        Events(fold, log, ledger, accounts),
        _system(fold, appender, ledger, scheduler),
        **settings,
    )
    async with run_loops(fold.run, appender.run):
        await eventually(lambda: fold.position > 0)
        try:
            yield RestFace(
                create_app(dependencies),
                store,
                fold,
                ledger,
                scheduler,
                environments,
                accounts,
                tokens,
                log,
                appender,
                api_tokens,
            )
        finally:
            passwords.close()
