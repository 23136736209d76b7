"""A gateway's gRPC face in a test's own process: real loopback calls over a log in memory.

There is no scheduler: the test writes rounds by hand (`hand_scheduler`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast
from uuid import uuid4

import grpc
import grpc.aio

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import UnavailableError
from fogbank.domain.node import Fingerprint
from fogbank.domain.policy import Policy
from fogbank.log.group_commit import GroupCommit
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import EventLog, Writer
from fogbank.runtime.certificate_ends import GATEWAY_NAME
from fogbank.runtime.certificates import Authority
from fogbank.runtime.clock import Clock, SystemClock
from fogbank.runtime.grpc_channel import open_channel
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.runtime.grpc_tls import CertificateRule, OwnCertificate, server_credentials
from fogbank.v1 import (
    agent_service_pb2_grpc,
    audit_service_pb2_grpc,
    deployment_service_pb2_grpc,
    identity_service_pb2_grpc,
    node_service_pb2_grpc,
    policy_service_pb2_grpc,
    replica_service_pb2_grpc,
    system_service_pb2_grpc,
    token_service_pb2_grpc,
)
from services.gateway.adapters.doors import agents_only_connect
from services.gateway.adapters.node_authority import FleetAuthority
from services.gateway.app.agent_session import AgentPorts
from services.gateway.app.agents import Agents
from services.gateway.app.clusters import Clusters
from services.gateway.app.command_log import CommandLog
from services.gateway.app.deliveries import Peers
from services.gateway.app.deployments import Deployments
from services.gateway.app.errands import Errands
from services.gateway.app.events import Events
from services.gateway.app.fold import FleetFold
from services.gateway.app.genesis import ensure_genesis
from services.gateway.app.joining import Joining
from services.gateway.app.limits import Allowance, Limits
from services.gateway.app.node_commands import NodeCommands
from services.gateway.app.nodes import Nodes
from services.gateway.app.organizations import Organizations
from services.gateway.app.past import Past
from services.gateway.app.planning import Planning
from services.gateway.app.policies import Policies
from services.gateway.app.ports import Heard, SchedulerQueries
from services.gateway.app.queue_room import QueueRoom
from services.gateway.app.rebalances import Rebalances
from services.gateway.app.rights import Rights
from services.gateway.app.updates import Updates
from services.gateway.core.bounds import GRPC_BOUNDS
from services.gateway.grpc_api.agent_service import AgentService
from services.gateway.grpc_api.audit_service import AuditService
from services.gateway.grpc_api.authentication import Authenticate
from services.gateway.grpc_api.deployment_service import DeploymentService
from services.gateway.grpc_api.identity_service import IdentityService
from services.gateway.grpc_api.node_service import NodeService
from services.gateway.grpc_api.policy_service import PolicyService
from services.gateway.grpc_api.replica_service import ReplicaService
from services.gateway.grpc_api.system_service import SystemService
from tests.support.fleet_log import a_fingerprint, a_spec
from tests.support.fold_ledger import FoldLedger
from tests.support.hand_scheduler import HandScheduler
from tests.support.named_users import ALICE, PLENTY, NamedUsers, named_identity
from tests.support.no_peers import NoPeers
from tests.support.rest_face import FakeScheduler
from tests.support.statuses import LogStatuses
from tests.support.tenancy import MemoryApiTokens, MemoryDenials, MemoryInvites, add_token_service

AGENT_TOKEN = "the-agents-token"

_HOSTS = (GATEWAY_NAME, "127.0.0.1")

LogOf = Callable[[Writer], EventLog]


def memory_logs(store: MemoryStore | None = None) -> LogOf:
    """Return handles on one log in memory."""
    shared = store or MemoryStore()
    return lambda writer: MemoryLog(shared, writer)


def signed_in(name: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call by a user."""
    return (("authorization", f"Bearer {name}"),)


class Environments:
    """Environments in memory; `up = False` stops them."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, str]] = {}
        self.up = True

    def key(self, env: Mapping[str, str]) -> str:
        return f"key-{sorted(env.items())}" if env else ""

    async def seal(self, env: Mapping[str, str]) -> str:
        self._require_up()
        self.kept[self.key(env)] = dict(env)
        return self.key(env)

    async def unseal(self, keys: Collection[str]) -> dict[str, dict[str, str]]:
        self._require_up()
        return {key: self.kept[key] for key in keys if key in self.kept}

    def _require_up(self) -> None:
        if not self.up:
            raise UnavailableError("the database is down", retry_after_ms=10)


class HashedSecrets:
    """Secrets of join tokens that anybody can work out."""

    def secret(self, token_id: str) -> bytes:
        return sha256(token_id.encode()).digest()


class HeardTelemetry:
    """Remembers what was heard."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    async def publish(self, heard: Heard) -> None:
        self.heard.append(heard)


@dataclass
class GatewayWorld:
    """The face, what stands behind it, and clients of each service."""

    address: str
    channel: grpc.aio.Channel
    log_of: LogOf
    log: EventLog
    fold: FleetFold
    agents: Agents
    deployments: Deployments
    ledger: FoldLedger
    environments: Environments
    telemetry: HeardTelemetry
    scheduler: HandScheduler
    denials: MemoryDenials
    agent_address: str = ""
    stubs: dict[str, Any] = field(default_factory=dict)

    async def deployed(self, replicas: int = 1, **env: str) -> str:
        """Accept a deployment of alice's and return its id."""
        spec = a_spec(replicas=replicas, allow_colocation=True)
        return (await self.deployments.create(ALICE, spec, env)).deployment_id

    async def connect_node(
        self, node_id: str, name: str, fingerprint: Fingerprint | None = None
    ) -> None:
        """Let a node shake hands, without an agent that would do anything."""
        await self.append(ev.NodeConnected(node_id, name, fingerprint or a_fingerprint()))

    async def append(self, event: ev.Event) -> None:
        """Write a fact that no use case wrote."""
        now_us = SystemClock().now_us()
        envelope = EventEnvelope(str(uuid4()), event, "somebody", "somebody", now_us)
        sequence = await self.log.append(encode_commit(now_us, [encode_envelope(envelope)]))
        await self.fold.reached(sequence)

    @property
    def deployment_service(self) -> Any:
        return deployment_service_pb2_grpc.DeploymentServiceStub(self.channel)

    @property
    def node_service(self) -> Any:
        return node_service_pb2_grpc.NodeServiceStub(self.channel)

    @property
    def replica_service(self) -> Any:
        return replica_service_pb2_grpc.ReplicaServiceStub(self.channel)

    @property
    def policy_service(self) -> Any:
        return policy_service_pb2_grpc.PolicyServiceStub(self.channel)

    @property
    def identity_service(self) -> Any:
        return identity_service_pb2_grpc.IdentityServiceStub(self.channel)

    @property
    def token_service(self) -> Any:
        return token_service_pb2_grpc.TokenServiceStub(self.channel)

    @property
    def audit_service(self) -> Any:
        return audit_service_pb2_grpc.AuditServiceStub(self.channel)


@asynccontextmanager
async def gateway_world(
    log_of: LogOf | None = None,
    *,
    instance: str = "one",
    kept_changes: int = 100_000,
    max_pending: int = 100_000,
    max_pending_share: float = 1,
    timeout_s: float = 60,
    planner: SchedulerQueries | None = None,
    invites: MemoryInvites | None = None,
    authority: Authority | None = None,
    clock: Clock | None = None,
    allowance: Allowance = PLENTY,
    patience_s: float = 30,
    peers: Peers | None = None,
) -> AsyncIterator[GatewayWorld]:
    """Run a gateway while the context lasts. Two on the same `log_of` share a fleet.

    Without a `planner` it plans from its own fold; without `invites` it has its own. With an
    `authority` agents join by token, and connect at another door, with certificates. The
    `allowance` is everybody's; without `peers` it is the only gateway. The broker's clock is the
    system's, whatever `clock` says.
    """
    log_of, clock = log_of or memory_logs(), clock or SystemClock()
    log = log_of(Writer("gateway", instance))
    await ensure_genesis(log, clock, "default", Policy())
    fold, appender = _fold(log, kept_changes), GroupCommit(log, SystemClock())
    environments, telemetry, ledger = Environments(), HeardTelemetry(), FoldLedger(fold)
    command_log = CommandLog(fold, appender, verdict_timeout_s=timeout_s)
    room = QueueRoom(fold, max_pending, max_pending_share)
    deployments = Deployments(fold, command_log, ledger, environments, clock, room=room)
    ports = AgentPorts(fold, appender, environments, telemetry, clock, fold_timeout_s=timeout_s)
    agents, queries, tokens = Agents(ports), planner or FakeScheduler(fold), MemoryApiTokens()
    identity = named_identity(Limits(clock, allowance), denials := MemoryDenials(), tokens)
    limits, server = identity.limits, _server(authority, Authenticate(identity, patience_s))
    joining = _joining(fold, command_log, clock, authority)
    uses = (deployments, fold, command_log, queries, environments, clock, limits)
    views, changes = Nodes(fold, ledger), _node_changes(fold, command_log, queries, clock)
    nodes = NodeService(views, *changes, joining, limits)
    errands = Errands(deployments, fold, agents, peers or NoPeers())
    _register(server, _deployment_service(*uses), nodes, agents, joining, errands, limits)
    past = Past(deployments, views, clusters := Clusters(fold, command_log, ledger, clock))
    organizations = _organizations(fold, command_log, clock, invites)
    _register_audit(server, log, fold, ledger, past, organizations)
    _register_identity(server, organizations, clusters, Policies(fold, command_log, clock))
    add_token_service(server, tokens, denials, Rights(fold, command_log))
    async with AsyncExitStack() as stack:
        stack.enter_context(agents.running())
        _keep_running(stack, fold, appender)
        await fold.reached(await log.last_sequence())
        address = await stack.enter_async_context(_listening(server, joining, authority))
        channel = await stack.enter_async_context(open_channel(address, credentials=_to(authority)))
        yield GatewayWorld(
            address,
            channel,
            log_of,
            log,
            fold,
            agents,
            deployments,
            ledger,
            environments,
            telemetry,
            HandScheduler(log_of(Writer("scheduler", "hand")), fold),
            denials,
            f"127.0.0.1:{joining.agent_port}",
        )


def _node_changes(
    fold: FleetFold, command_log: CommandLog, queries: SchedulerQueries, clock: Clock
) -> tuple[NodeCommands, Rebalances]:
    rebalances = Rebalances(fold, command_log, queries, clock)
    return NodeCommands(fold, command_log, clock), rebalances


def _deployment_service(
    deployments: Deployments,
    fold: FleetFold,
    command_log: CommandLog,
    queries: SchedulerQueries,
    environments: Environments,
    clock: Clock,
    limits: Limits,
) -> DeploymentService:
    planning = Planning(deployments, command_log, queries)
    updates = Updates(deployments, fold, command_log, environments, clock)
    organizations = _organizations(fold, command_log, clock, None)
    return DeploymentService(
        deployments, planning, updates, limits, GRPC_BOUNDS, organizations=organizations
    )


def _register_audit(
    server: GrpcServer,
    log: EventLog,
    fold: FleetFold,
    ledger: FoldLedger,
    past: Past,
    organizations: Organizations,
) -> None:
    events = Events(fold, log, ledger, NamedUsers())
    prefix = "fogbank.log.test.1."
    audit = AuditService(log, events, ledger, past, organizations, subject_prefix=prefix)
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(audit, server.grpc)


def _fold(log: EventLog, kept_changes: int) -> FleetFold:
    return FleetFold(log, LogStatuses(log), kept_changes=kept_changes)


def _keep_running(stack: AsyncExitStack, fold: FleetFold, appender: GroupCommit) -> None:
    for loop in (fold.run, appender.run):
        stack.push_async_callback(_cancelled, asyncio.create_task(loop()))


@asynccontextmanager
async def _listening(
    server: GrpcServer, joining: Joining, authority: Authority | None
) -> AsyncIterator[str]:
    if authority is not None:
        own = OwnCertificate(authority, "gateway", _HOSTS)
        door = server_credentials(own, authority.certificate_pem)
        joining.agent_port = server.listen("127.0.0.1:0", door, "agents")
    port = await server.start("127.0.0.1:0")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def _organizations(
    fold: FleetFold, command_log: CommandLog, clock: Clock, invites: MemoryInvites | None
) -> Organizations:
    return Organizations(fold, command_log, NamedUsers(), invites or MemoryInvites(), clock)


def _server(authority: Authority | None, named: Authenticate) -> GrpcServer:
    rules = [CertificateRule(agents_only_connect), named]
    if authority is None:
        return GrpcServer([], interceptors=rules)
    own = OwnCertificate(authority, "gateway", _HOSTS)
    return GrpcServer([], interceptors=rules, credentials=server_credentials(own))


def _joining(
    fold: FleetFold, command_log: CommandLog, clock: Clock, authority: Authority | None
) -> Joining:
    signs = FleetAuthority(authority, 3_600, clock) if authority is not None else None
    return Joining(fold, command_log, clock, HashedSecrets(), signs)


def _to(authority: Authority | None) -> grpc.ChannelCredentials | None:
    if authority is None:
        return None
    return grpc.ssl_channel_credentials(authority.certificate_pem.encode())


def _register(
    server: GrpcServer,
    deployments: DeploymentService,
    nodes: NodeService,
    agents: Agents,
    joining: Joining,
    errands: Errands,
    limits: Limits,
) -> None:
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, server.grpc)
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(nodes, server.grpc)
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(
        AgentService(agents, joining, errands, limits, AGENT_TOKEN, "default"), server.grpc
    )
    replica_service_pb2_grpc.add_ReplicaServiceServicer_to_server(
        ReplicaService(errands), server.grpc
    )


def _register_identity(
    server: GrpcServer, organizations: Organizations, clusters: Clusters, policies: Policies
) -> None:
    """Nobody signs in here: who has which token is settled."""
    service = IdentityService(cast("Any", None), organizations, clusters)
    identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(service, server.grpc)
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(SystemService(), server.grpc)
    policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(
        PolicyService(policies), server.grpc
    )


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """Wait for a call that must fail, and return how it did."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"answered: {answer}")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
