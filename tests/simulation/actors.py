"""The services of a simulated cluster: production code, put together over simulated ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fogbank.domain.fleet import FleetState, StateDiffersError
from fogbank.domain.policy import Policy
from fogbank.log.group_commit import GroupCommit
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.port import EventLog, LogBrokenError, LogUnavailableError, Writer
from fogbank.log.second_copy import agreement
from fogbank.v1 import log_pb2
from services.gateway.app.agent_session import AgentPorts
from services.gateway.app.agents import Agents
from services.gateway.app.command_log import CommandLog
from services.gateway.app.deployments import Deployments
from services.gateway.app.errands import Errands
from services.gateway.app.fold import FleetFold
from services.gateway.app.genesis import ensure_genesis
from services.gateway.app.joining import Joining
from services.gateway.app.ports import Heard, HeardHeartbeat
from services.gateway.app.updates import Updates
from services.gateway.grpc_api.agent_service import AgentService
from services.ledger.app.ports import RivalLedgerError
from services.ledger.app.progress import Progress
from services.ledger.app.projector import Projector
from services.ledger.app.snapshots import Snapshots
from services.node_agent.app.node import NodeAgent, NodeSettings
from services.scheduler.adapters.answering import Answering
from services.scheduler.adapters.listening import Listening
from services.scheduler.app import Scheduler
from tests.simulation.broker import STREAM, Broker, Handle
from tests.simulation.connection import SimConnection
from tests.simulation.loop import Process
from tests.simulation.machines import (
    Database,
    Machine,
    Sealed,
    SimCopy,
    SimDisk,
    SimHost,
    SimRuntime,
    SimStore,
)
from tests.simulation.snapshots import Kept, SimSnapshots, SimSource, SimStatuses
from tests.simulation.streams import TOKEN, SimGateways, SimStream, serve_stream
from tests.simulation.world import ProcessDeadError, SimClock, World
from tests.support.no_peers import NoPeers
from tests.support.schedulers import NoMeter

T = TypeVar("T")

# What may end a process without being a fault: its supervisor starts it again.
_USUAL_ENDS = (LogUnavailableError, RivalLedgerError, ProcessDeadError)
_RESTART_S = 1.0


@dataclass
class Cluster:
    """All actors, and what they share.

    `flipped` is the process whose state was changed behind its back, and the log's end then;
    `differs` tells that a process found its state to be another than a round was decided on.
    `cluster_ids` are the clusters that there are for sure, as callers know them.
    """

    world: World
    broker: Broker
    database: Database
    policy: Policy
    sealed: Sealed = field(default_factory=Sealed)
    snapshots: Kept = field(default_factory=Kept)
    flipped: tuple[Process | None, int] = (None, 0)
    differs: bool = False
    gateways: list[GatewayActor] = field(default_factory=list)
    schedulers: list[SchedulerActor] = field(default_factory=list)
    ledgers: list[LedgerActor] = field(default_factory=list)
    agents: list[AgentActor] = field(default_factory=list)
    cluster_ids: list[int] = field(default_factory=lambda: [1])

    def event_at(self, position: int) -> str:
        """Return the id of the event at a packed position of the log; empty if there is none."""
        number, index = position >> 16, position & 0xFFFF
        if not 1 <= number <= len(self.broker.commits):
            return ""
        events = log_pb2.Commit.FromString(self.broker.commits[number - 1].data).events
        return events[index].event_id if index < len(events) else ""

    @property
    def actors(self) -> list[Actor]:
        """Everybody, in a fixed order."""
        return [*self.gateways, *self.schedulers, *self.ledgers, *self.agents]


class Actor:
    """Something that runs, dies and is started again; `generation` counts its lives."""

    supervised = True

    def __init__(self, cluster: Cluster, name: str, clock: SimClock) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.name = name
        self.clock = clock
        self.generation = 0
        self.process: Process | None = None

    @property
    def alive(self) -> bool:
        """Whether a process of it runs, frozen or not."""
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start a new process, if none runs."""
        if self.alive:
            return
        self.generation += 1
        self.process = process = Process(f"{self.name}.{self.generation}")
        self.world.tell(process.name, "starts")
        process.task = self.world.loop.create_task(self._live(process), context=process.context)

    def kill(self) -> None:
        """End the process without warning; what it held in memory is gone."""
        process = self.process
        if process is None or not process.alive:
            return
        self.world.tell(process.name, "is killed")
        process.alive = False
        self.world.loop.thaw(process)
        self.gone()
        if process.task is not None:
            process.task.cancel()

    def gone(self) -> None:
        """Tell others that the process is gone."""

    async def run(self, process: Process) -> None:
        """Live one life."""
        raise NotImplementedError

    async def _live(self, process: Process) -> None:
        try:
            await self.run(process)
        except BaseException as error:  # noqa: BLE001 (whatever ends a process is looked at)
            if not process.alive:
                return
            self._died(process, error)

    def _died(self, process: Process, error: BaseException) -> None:
        process.alive = False
        self.gone()
        causes = _leaves(error)
        self.world.tell(process.name, "dies: " + "; ".join(map(repr, causes)))
        for cause in causes:
            if isinstance(cause, LogBrokenError):
                self.world.problem(f"{process.name} finds the log broken: {cause}")
            elif not isinstance(cause, _USUAL_ENDS):
                self.cluster.differs |= isinstance(cause, StateDiffersError)
                self.world.problem(f"{process.name} died of {cause!r}")
        if self.supervised:
            self.world.later(_RESTART_S, self.start)

    def log(self, service: str, process: Process) -> JetStreamLog:
        """Return a handle on the log, with the names of this life."""
        link = self.world.link(self.name, "broker")
        writer = Writer(service, f"{self.name}-{self.generation}")
        connection: Any = SimConnection(self.cluster.broker, link, process)
        log = JetStreamLog(connection, STREAM, writer)
        self.cluster.broker.handles.append(Handle(log, process))
        return log

    async def agree(self, log: EventLog, process: Process) -> None:
        """Wait until the log holds what the ledger's copy holds."""
        link = self.world.link(self.name, "ledger")
        await agreement(log, SimCopy(self.cluster.database, process, link))


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


class GatewayActor(Actor):
    """A gateway: fold, command log, deployments, agents' streams."""

    def __init__(self, cluster: Cluster, name: str, clock: SimClock) -> None:
        super().__init__(cluster, name, clock)
        self.deployments: Deployments | None = None
        self.updates: Updates | None = None
        self.command_log: CommandLog | None = None
        self.fold: FleetFold | None = None
        self.appender: GroupCommit | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._service: AgentService | None = None
        self._agents: Agents | None = None
        self._streams: list[SimStream] = []

    async def run(self, process: Process) -> None:
        log = self.log("gateway", process)
        await self.agree(log, process)
        await ensure_genesis(log, self.clock, "default", self.cluster.policy)
        link = self.world.link(self.name, "ledger")
        snapshots = SimSource(self.cluster.snapshots, process, link, self.world)
        statuses = SimStatuses(self.cluster.database, process, link)
        fold = FleetFold(log, statuses, snapshots=snapshots)
        appender = GroupCommit(log, self.clock)
        telemetry = _Telemetry(self, process)
        agents = Agents(AgentPorts(fold, appender, self.cluster.sealed, telemetry, self.clock))
        never: Any = None
        with agents.running():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fold.run())
                tasks.create_task(appender.run())
                await fold.caught_up.wait()
                if fold.begun_at:
                    self.world.count("gateway begun with a snapshot")
                self.fold, self.appender, self._agents = fold, appender, agents
                self.command_log = command_log = CommandLog(fold, appender)
                sealed, self._tasks = self.cluster.sealed, tasks
                self.deployments = Deployments(fold, command_log, never, sealed, self.clock)
                joining = Joining(fold, command_log, self.clock, never, None)
                errands = Errands(self.deployments, fold, agents, NoPeers())
                self._service = AgentService(agents, joining, errands, never, TOKEN, "default")
                self.updates = Updates(self.deployments, fold, command_log, sealed, self.clock)

    def hear(self, instance: str, heartbeats: list[HeardHeartbeat]) -> None:
        """Take in what a scheduler heard, when the process gets to it."""
        process = self.process
        if process is None or not process.alive or self._agents is None:
            return
        if not self.cluster.broker.up or not self.world.link(self.name, "broker").whole:
            return
        self.world.loop.call_soon(
            self._agents.heard, instance, heartbeats, context=process.context.copy()
        )

    def hang_up(self) -> None:
        """Break all streams, as a proxy that restarts."""
        streams, self._streams = self._streams, []
        for stream in streams:
            stream.end_server()
            stream.lost(0.0)

    def gone(self) -> None:
        self.deployments = self.updates = self.fold = self.appender = None
        self.command_log = None
        self._tasks = self._service = self._agents = None
        streams, self._streams = self._streams, []
        for stream in streams:
            link = self.world.link(stream.machine, self.name)
            stream.lost(link.uniform(0.0, 0.3) if link.happens(0.8) else 15.0)

    def accept(self, stream: SimStream) -> bool:
        """Begin to serve an agent's stream; False if nobody listens."""
        process = self.process
        if process is None or not process.alive or self._tasks is None or self._service is None:
            return False
        stream.server = self._spawn(process, serve_stream(self._service, stream, process))
        self._streams = [each for each in self._streams if not each.closed]
        self._streams.append(stream)
        return True

    def _spawn(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in the process, as a server runs a call: its failure is its own."""
        return self.world.loop.create_task(work, context=process.context.copy())

    def _is(self, process: Process) -> bool:
        """Tell whether this process is the one that lives."""
        return self.process is process and process.alive

    async def call(self, work: Callable[[GatewayActor], Coroutine[Any, Any, T]], link: str) -> T:
        """Make a call as a client does: it may never be answered.

        Raises:
            LogUnavailableError: nobody listens, and nothing happened.
            TimeoutError: no answer in time; it may have happened.
        """
        way = self.world.link(link, self.name)
        process = self.process
        if process is None or self.deployments is None or not way.goes(there=True):
            raise LogUnavailableError("nobody listens")
        task = self._spawn(process, work(self))
        task.add_done_callback(_heed)
        try:
            async with asyncio.timeout(25.0):
                await asyncio.wait([task])
        except TimeoutError:
            if way.happens(0.5):
                task.cancel()
            raise
        lost = way.happens(self.world.noise.reply_lost)
        if lost or not way.goes(there=False) or not self._is(process):
            raise TimeoutError
        return task.result()


def _heed(task: asyncio.Task[Any]) -> None:
    """Look at what came of a call: whether the caller still waits is another matter."""
    if not task.cancelled():
        task.exception()


class _Telemetry:
    """Tells schedulers of signs of life: lost, late, twice."""

    def __init__(self, gateway: GatewayActor, process: Process) -> None:
        self._gateway = gateway
        self._process = process

    async def publish(self, heard: Heard) -> None:
        world, cluster = self._gateway.world, self._gateway.cluster
        if not self._process.alive or not cluster.broker.up:
            return
        if not world.link(self._gateway.name, "broker").whole:
            return
        for scheduler in cluster.schedulers:
            link = world.link(self._gateway.name, scheduler.name)
            if link.happens(world.noise.telemetry_lost):
                continue
            times = 2 if link.happens(world.noise.telemetry_twice) else 1
            for _ in range(times):
                delay_s = link.delay_s()
                world.later(delay_s, scheduler.hear, heard.node_id, heard.epoch, heard.number)


class SchedulerActor(Actor):
    """A scheduler: planner, liveness, leadership."""

    scheduler: Scheduler | None = None

    async def run(self, process: Process) -> None:
        log = self.log("scheduler", process)
        await self.agree(log, process)
        link = self.world.link(self.name, "ledger")
        source = SimSource(self.cluster.snapshots, process, link, self.world)
        self.scheduler = scheduler = Scheduler(log, self.clock, NoMeter(), snapshots=source)
        self._answering = Answering(scheduler, log.writer.instance, self._publish)
        async with asyncio.TaskGroup() as tasks:
            listen = Listening(scheduler, log, self.clock).run
            for loop in (scheduler.follow, scheduler.decide, listen, self._answering.run):
                tasks.create_task(loop())

    async def _publish(self, instance: str, heard: Sequence[tuple[str, int, int]]) -> None:
        """Tell gateways what was heard, as telemetry goes."""
        world = self.world
        if not self.cluster.broker.up or not world.link(self.name, "broker").whole:
            return
        heartbeats = [HeardHeartbeat(*each) for each in heard]
        for gateway in self.cluster.gateways:
            link = world.link(self.name, gateway.name)
            if not link.happens(world.noise.telemetry_lost):
                world.later(link.delay_s(), gateway.hear, instance, heartbeats)

    def gone(self) -> None:
        if self.scheduler is not None and self.scheduler.begun_at:
            self.world.count("begun with a snapshot")
        self.scheduler = None

    @property
    def stands_still(self) -> bool:
        """Whether it found another state than a round was decided on."""
        return self.scheduler is not None and self.scheduler.differs.is_set()

    def hear(self, node_id: str, epoch: int, number: int) -> None:
        """Take in a sign of life, when the process gets to it."""
        process = self.process
        if process is None or not process.alive or self.scheduler is None:
            return
        if not self.cluster.broker.up or not self.world.link(self.name, "broker").whole:
            return
        self.world.loop.call_soon(
            self._answering.heard, node_id, epoch, number, context=process.context.copy()
        )


class LedgerActor(Actor):
    """A ledger: the projection of the log into its database."""

    projector: Projector | None = None

    async def run(self, process: Process) -> None:
        log = self.log("ledger", process)
        link = self.world.link(self.name, "database")
        store = SimStore(self.cluster.database, process, link, self.world)
        cluster = self.cluster
        kept = SimSnapshots(cluster.snapshots, cluster.database, process, link, self.world)
        snapshots = Snapshots(kept)
        self.projector = Projector(log, store, Progress(), self.clock, snapshots)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.projector.run())
            tasks.create_task(snapshots.run())

    def gone(self) -> None:
        self.projector = None

    @property
    def leads(self) -> bool:
        """Whether this one writes."""
        return self.alive and self.cluster.database.leader is self.process


class AgentActor(Actor):
    """A node's agent on its machine."""

    def __init__(self, cluster: Cluster, machine: Machine) -> None:
        super().__init__(cluster, machine.name, machine.clock)
        self.machine = machine
        self.agent: NodeAgent | None = None
        self.away = self.removed = False

    def start(self) -> None:
        """As any actor; a machine whose node was removed stays switched off."""
        if not self.removed:
            super().start()

    async def run(self, process: Process) -> None:
        link = self.world.link(self.name, "disk")
        self.agent = NodeAgent(
            self.name,
            disk=SimDisk(self.machine, process, link),
            runtime=SimRuntime(self.machine, process, link),
            host=SimHost(self.machine),
            gateways=SimGateways(self.world, process, self.cluster.gateways, self.name),
            clock=self.clock.now_us,
            boot_clock=lambda: round(self.clock.monotonic_s() * 1_000_000),
            random=self.world.chance(process.name),
            settings=NodeSettings(),
            boot_id=f"boot-{self.machine.boots}",
        )
        await self.agent.run()

    def gone(self) -> None:
        self.agent = None
        self.machine.unattended = True


def fleet_of(actor: Actor) -> FleetState | None:
    """Return the state that an actor has folded, if it folds."""
    if isinstance(actor, GatewayActor) and actor.fold is not None:
        return actor.fold.fleet
    if isinstance(actor, SchedulerActor) and actor.scheduler is not None:
        return actor.scheduler.planner.fleet
    if isinstance(actor, LedgerActor) and actor.projector is not None and actor.leads:
        return actor.projector._projection.fleet
    return None
