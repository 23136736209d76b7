"""Starts a gateway: `python -m services.gateway.main`."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import grpc.aio
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.fleet import StateDiffersError
from fogbank.domain.state_reading import IF_STATES_DIFFER
from fogbank.log.group_commit import GroupCommit
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsConnection, connect
from fogbank.log.opening import credentials_of, open_log
from fogbank.log.second_copy import LedgerCopy, agreement
from fogbank.log.snapshots import LedgerSnapshots
from fogbank.log.stream import StreamName
from fogbank.runtime.clock import Clock, SystemClock
from fogbank.runtime.crash_points import crash_point
from fogbank.runtime.garbage import look_through_little_at_once
from fogbank.runtime.grpc_channel import open_channel
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.runtime.grpc_tls import CertificateRule, ServiceTls
from fogbank.runtime.lifecycle import Service, run
from fogbank.runtime.settings import load
from fogbank.runtime.tls import client_tls
from services.gateway.adapters import maintenance
from services.gateway.adapters.api_tokens import PostgresApiTokens
from services.gateway.adapters.database import make_engine, migrate, ping
from services.gateway.adapters.denials import PostgresDenials
from services.gateway.adapters.doors import Doors, agents_only_connect
from services.gateway.adapters.errand_peers import NatsPeers
from services.gateway.adapters.invites import PostgresInvites
from services.gateway.adapters.ledger_client import LedgerClient
from services.gateway.adapters.node_authority import FleetAuthority, SealedTokenSecrets
from services.gateway.adapters.passwords import Argon2Passwords, HashingCost
from services.gateway.adapters.scheduler_client import SchedulerClient
from services.gateway.adapters.sealing import SealedEnvironments
from services.gateway.adapters.telemetry import NatsTelemetry, heard_heartbeats
from services.gateway.adapters.tokens import JwtAccessTokens, signing_keys
from services.gateway.adapters.users import PostgresRefreshTokens, PostgresUsers
from services.gateway.app.agent_session import AgentPorts
from services.gateway.app.agents import Agents
from services.gateway.app.clusters import Clusters
from services.gateway.app.command_log import CommandLog
from services.gateway.app.deployments import Deployments
from services.gateway.app.errands import Errands
from services.gateway.app.events import Events
from services.gateway.app.fold import FleetFold
from services.gateway.app.gate import Gate
from services.gateway.app.genesis import ensure_genesis
from services.gateway.app.handshakes import Handshakes
from services.gateway.app.identity import Identity
from services.gateway.app.joining import Joining
from services.gateway.app.limits import Limits
from services.gateway.app.node_commands import NodeCommands
from services.gateway.app.nodes import Nodes
from services.gateway.app.organizations import Organizations
from services.gateway.app.planning import Planning
from services.gateway.app.policies import Policies
from services.gateway.app.queue_room import QueueRoom
from services.gateway.app.readiness import follow_readiness
from services.gateway.app.rebalances import Rebalances
from services.gateway.app.rights import Rights
from services.gateway.app.service_accounts import ServiceAccounts
from services.gateway.app.shared_answer import SharedAnswer
from services.gateway.app.system import PROBED_EVERY_S, System
from services.gateway.app.unused_environments import UnusedEnvironments
from services.gateway.app.updates import Updates
from services.gateway.grpc_api.authentication import Authenticate
from services.gateway.grpc_api.gatekeeper import Gatekeeper
from services.gateway.grpc_api.server import SERVICE_NAMES, GrpcDependencies, add_to_server
from services.gateway.http_api.application import create_app
from services.gateway.http_api.dependencies import HttpDependencies
from services.gateway.http_api.server import HttpServer
from services.gateway.settings import AccountsSettings, GatewaySettings

_log = structlog.get_logger(__name__)

# How long calls in flight may take when the gateway stops, in seconds.
_GRACE_S = 3.0
_DRAIN_REASON = "this gateway is stopping"


@dataclass(frozen=True, slots=True)
class _Record:
    """The log, this gateway's ways in and out of it, and whether it may go there."""

    log: JetStreamLog
    connection: NatsConnection
    name: StreamName
    fold: FleetFold
    appender: GroupCommit
    gate: Gate


@dataclass(frozen=True, slots=True)
class _Own:
    """What stands on the gateway's own database."""

    engine: AsyncEngine
    identity: Identity
    users: PostgresUsers
    invites: PostgresInvites
    environments: SealedEnvironments
    api_tokens: PostgresApiTokens
    denials: PostgresDenials


@dataclass(frozen=True, slots=True)
class _UseCases:
    """The application layer, for both faces."""

    deployments: Deployments
    planning: Planning
    updates: Updates
    nodes: Nodes
    node_commands: NodeCommands
    rebalances: Rebalances
    organizations: Organizations
    clusters: Clusters
    service_accounts: ServiceAccounts
    policies: Policies
    events: Events


def _use_cases(
    settings: GatewaySettings,
    record: _Record,
    own: _Own,
    ledger: LedgerClient,
    scheduler: SchedulerClient,
) -> _UseCases:
    clock = SystemClock()
    fold, environments = record.fold, own.environments
    command_log = CommandLog(fold, record.appender)
    room = QueueRoom(fold, settings.max_pending, settings.max_pending_share)
    deployments = Deployments(fold, command_log, ledger, environments, clock, room=room)
    return _UseCases(
        deployments,
        Planning(deployments, command_log, scheduler),
        Updates(deployments, fold, command_log, environments, clock),
        Nodes(fold, ledger),
        NodeCommands(fold, command_log, clock),
        Rebalances(fold, command_log, scheduler, clock),
        Organizations(fold, command_log, own.users, own.invites, clock),
        Clusters(fold, command_log, ledger, clock),
        ServiceAccounts(own.api_tokens, own.denials, Rights(fold, command_log), clock),
        Policies(fold, command_log, clock),
        Events(fold, record.log, ledger, own.users),
    )


async def build(service: Service, settings: GatewaySettings) -> None:
    """Put the gateway together; it serves once log and copy agree and it has read the log."""
    clock = SystemClock()
    if os.environ.get("REDIS_URL"):
        _log.warning("REDIS_URL is not used: the queue is the event log on NATS (FOG_NATS_URL)")
    doors = Doors(settings)
    ledger_channel, scheduler_channel = await _inward(service, settings, doors)
    ledger, scheduler = LedgerClient(ledger_channel), SchedulerClient(scheduler_channel)
    record = await _open_log(service, settings, clock, ledger, LedgerSnapshots(ledger_channel))
    own = await _open_database(service, settings, clock)
    fold = record.fold
    uses = _use_cases(settings, record, own, ledger, scheduler)
    agents = await _agents(service, settings, record, own.environments, clock)
    joining = _joining(settings, record, doors, clock)
    system = System(fold, record.appender, agents, ledger, scheduler, clock=clock, gate=record.gate)
    face = GrpcDependencies(
        uses.deployments,
        uses.planning,
        uses.updates,
        uses.nodes,
        uses.node_commands,
        uses.rebalances,
        agents,
        Errands(uses.deployments, fold, agents, await _peers(service, settings)),
        joining,
        own.identity,
        uses.organizations,
        uses.clusters,
        uses.service_accounts,
        uses.policies,
        record.log,
        uses.events,
        ledger,
        subject_prefix=record.name.prefix,
        fleet=settings.fleet,
        agent_token=settings.agent_token.reveal(),
        bounds=settings.bounds,
    )
    grpc = await _serve_grpc(service, face, record.gate, settings, doors)
    _serve_http(service, settings, doors, _http(settings, record, own, uses, system))
    service.start_loop("certificate", doors.keep_fresh)
    service.on_stop("agents", lambda: _send_agents_away(grpc, agents))
    await agreement(record.log, LedgerCopy(ledger_channel), waits=record.gate.close)
    await _begin(service, settings, record, clock)
    service.start_loop("environments", UnusedEnvironments(fold, own.environments, record.gate).run)
    await grpc.serving()

    async def back() -> None:
        if not service.stopping.is_set():
            await grpc.serving()

    service.start_loop(
        "readiness", lambda: follow_readiness(system.is_ready, grpc.not_serving, back)
    )


def _http(
    settings: GatewaySettings, record: _Record, own: _Own, uses: _UseCases, system: System
) -> HttpDependencies:
    return HttpDependencies(
        uses.deployments,
        uses.planning,
        uses.updates,
        uses.organizations,
        uses.clusters,
        uses.service_accounts,
        uses.nodes,
        own.identity,
        uses.events,
        system,
        database_answers=SharedAnswer(lambda: ping(own.engine), PROBED_EVERY_S),
        max_body_bytes=settings.max_body_bytes,
        client_patience_s=settings.client_patience_s,
        gate=record.gate,
        bounds=settings.bounds,
        shows_metrics=settings.http_metrics,
    )


def _joining(settings: GatewaySettings, record: _Record, doors: Doors, clock: Clock) -> Joining:
    signs = doors.authority
    return Joining(
        record.fold,
        CommandLog(record.fold, record.appender),
        clock,
        SealedTokenSecrets(settings.sealing_key.reveal()),
        FleetAuthority(signs, settings.agent_certificate_s, clock) if signs is not None else None,
    )


async def _inward(
    service: Service, settings: GatewaySettings, doors: Doors
) -> tuple[grpc.aio.Channel, grpc.aio.Channel]:
    """Return the channels to the ledger and to a scheduler."""
    token = settings.service_token.reveal() if settings.service_token else None
    credentials = ServiceTls(settings).client(doors.source)
    addresses = (settings.ledger_addr, settings.scheduler_addr)
    ledger, scheduler = [
        await service.enter(open_channel(address, token=token, credentials=credentials))
        for address in addresses
    ]
    return ledger, scheduler


async def _agents(
    service: Service,
    settings: GatewaySettings,
    record: _Record,
    environments: SealedEnvironments,
    clock: Clock,
) -> Agents:
    """Be ready for agents, and for what schedulers heard of them."""
    telemetry = NatsTelemetry(record.connection, settings.fleet)
    ports = AgentPorts(record.fold, record.appender, environments, telemetry, clock)
    agents = Agents(ports, Handshakes(settings.agent_handshakes))
    service.enter_sync(agents.running())
    await service.enter(heard_heartbeats(record.connection, settings.fleet, agents.heard))
    return agents


async def _peers(service: Service, settings: GatewaySettings) -> NatsPeers:
    """Be ready for errands of other gateways, on a connection that the log doesn't share."""
    connection = await service.enter(
        connect(settings.nats_url, f"{settings.instance}-errands", credentials_of(settings))
    )
    return NatsPeers(connection, settings.fleet, settings.sealing_key.reveal())


async def _begin(
    service: Service, settings: GatewaySettings, record: _Record, clock: Clock
) -> None:
    """Read and write the log, now that it is certain that it is the right one; open the gate."""
    record.gate.close("the log is being read")
    await ensure_genesis(record.log, clock, settings.fleet, settings.first_policy)
    service.start_loop("follow", lambda: _follow(record))
    service.start_loop("append", record.appender.run)
    await record.fold.caught_up.wait()
    # What the log left behind stays for good: no need to look through it again and again.
    gc.freeze()
    crash_point("gateway.before-opening")
    record.gate.open()


async def _follow(record: _Record) -> None:
    try:
        await record.fold.run()
    except StateDiffersError as error:
        record.gate.close("its state differs from a round's")
        _log.critical(
            "this gateway stands still: states differ", error=f"{error}{IF_STATES_DIFFER}"
        )
        await asyncio.Event().wait()


async def _send_agents_away(grpc: GrpcServer, agents: Agents) -> None:
    await grpc.not_serving()
    agents.drain(_DRAIN_REASON)


async def _serve_grpc(
    service: Service, face: GrpcDependencies, gate: Gate, settings: GatewaySettings, doors: Doors
) -> GrpcServer:
    server = GrpcServer(
        SERVICE_NAMES,
        interceptors=[
            CertificateRule(agents_only_connect),
            Gatekeeper(gate),
            Authenticate(face.identity, settings.client_patience_s),
        ],
        credentials=doors.users,
    )
    add_to_server(face, server.grpc)
    if doors.agents is not None:
        port = server.listen(settings.agent_listen, doors.agents, "agents")
        face.joining.agent_port = port
    await server.start(settings.grpc_listen)
    service.on_stop("grpc", lambda: server.stop(_GRACE_S))
    return server


async def _open_log(
    service: Service,
    settings: GatewaySettings,
    clock: Clock,
    ledger: LedgerClient,
    snapshots: LedgerSnapshots,
) -> _Record:
    opened = await service.enter(open_log(settings))
    log = opened.log
    kept = settings.kept_status_changes
    fold = FleetFold(log, ledger, kept_changes=kept, snapshots=snapshots)
    return _Record(log, opened.connection, opened.name, fold, GroupCommit(log, clock), gate=Gate())


async def _open_database(service: Service, settings: GatewaySettings, clock: Clock) -> _Own:
    keys = signing_keys(settings.jwt_secret.reveal(), settings.jwt_algorithm)
    tokens = JwtAccessTokens(keys, settings.jwt_expire_minutes * 60)
    engine = await service.enter(_engine(settings))
    sealing_key = settings.sealing_key.reveal()
    environments = SealedEnvironments(engine, sealing_key, clock)
    users = PostgresUsers(engine)
    await migrate(engine)
    denials = PostgresDenials(engine, clock, settings.denials_max_age_s)
    await denials.read()
    service.start_loop("denials", denials.follow)
    cost = HashingCost(
        settings.password_time_cost, settings.password_memory_kib, settings.password_parallelism
    )
    threads = settings.password_threads
    passwords = service.enter_sync(closing(Argon2Passwords(cost, threads=threads)))
    api_tokens = PostgresApiTokens(engine, clock.now_us)
    identity = Identity(
        users,
        PostgresRefreshTokens(engine),
        passwords,
        tokens,
        denials,
        api_tokens=api_tokens,
        clock=clock,
        refresh_lifetime_s=settings.refresh_expire_hours * 3600,
        limits=Limits(clock, settings.allowance),
    )
    await passwords.warm_up()
    if settings.admin_password is None:
        _log.info("no administrator is made: FOG_ADMIN_PASSWORD is not set")
    elif await identity.ensure_admin(settings.admin_user, settings.admin_password.reveal()):
        _log.info("administrator made")
    invites = PostgresInvites(engine, sealing_key)
    return _Own(engine, identity, users, invites, environments, api_tokens, denials)


@asynccontextmanager
async def _engine(settings: GatewaySettings) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(
        settings.database_url.reveal(),
        pool_size=settings.database_connections,
        tls=client_tls(settings.database_tls_ca),
    )
    try:
        yield engine
    finally:
        await engine.dispose()


def _serve_http(
    service: Service, settings: GatewaySettings, doors: Doors, face: HttpDependencies
) -> None:
    server = HttpServer(
        create_app(face),
        settings.http_listen,
        doors.https,
        client_patience_s=settings.client_patience_s,
        trusted_proxies=settings.trusted_proxies,
    )
    ended = asyncio.Event()

    async def serve() -> None:
        try:
            await server.run()
        finally:
            ended.set()
        if service.stopping.is_set():
            # It was told to; a loop that returns would count as one that died.
            await asyncio.Event().wait()

    async def stop() -> None:
        server.stop()
        await ended.wait()

    service.start_loop("http", serve)
    service.on_stop("http", stop)
    _log.info("listening", protocol="http", port=server.port)


def main() -> None:
    """Run until told to stop; with arguments, do that work on the own tables and leave."""
    if sys.argv[1:]:
        sys.exit(maintenance.main(load(AccountsSettings), sys.argv[1:]))
    look_through_little_at_once()
    settings = load(GatewaySettings)
    run(settings, lambda service: build(service, settings))


if __name__ == "__main__":
    main()
