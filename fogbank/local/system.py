"""The whole system on one machine: starts its parts in order, keeps them, stops them in order."""

import asyncio
import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol, Self

from fogbank.local.child import Child, ChildObserver, ChildSpec
from fogbank.local.child_register import ChildRegister
from fogbank.local.data_dir import DataDir
from fogbank.local.disk_trouble import DiskTrouble
from fogbank.local.errors import LocalError, StartFailed
from fogbank.local.fleet import (
    SimulatedNode,
    default_fleet,
    group_fleet,
    keep_fleet,
    kept_fleet,
)
from fogbank.local.log_watch import LogWatch, last_lines
from fogbank.local.nats_server import NatsServer
from fogbank.local.ports import Ports
from fogbank.local.postgres import PostgresServer
from fogbank.local.readiness import Probe, grpc_serving, http_ok, until
from fogbank.local.secret_files import SecretFiles, read_secret
from fogbank.local.services import ADMIN_USER, ServicePlan, choose_addresses, python_module
from fogbank.local.state import LocalState
from fogbank.local.tls import LocalTls
from fogbank.log.stream import StreamName
from fogbank.runtime.certificate_ends import CertificateError
from fogbank.runtime.container_engine import (
    NoEngineError,
    RuntimeChoice,
    RuntimeWish,
    choose_runtime,
)
from fogbank.runtime.private_files import write_private
from fogbank.runtime.settings import FleetSettings, load

_LOG_POLL_S = 0.5
_MOST_ENDS_AT_START = 6
_LINES_OF_A_FAILURE = 8


class FirstUser(Protocol):
    """Asks a running gateway as its first user."""

    async def count(self, state: LocalState, names: Collection[str], since: float) -> int:
        """Return how many of the nodes with these names shook hands since then.

        `since` is in seconds since 1970.
        """

    async def join_token(self, state: LocalState, uses: int) -> str:
        """Return a token with which so many nodes may join."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the user chose."""

    data_dir: DataDir
    fleet: Sequence[SimulatedNode] | None = None  # None: that of the last start, else the default
    grpc_port: int | None = None  # None: that of the last start; 0: any free one
    http_port: int | None = None
    gateways: int = 1
    schedulers: int = 1
    tls: bool = False  # a system that spoke TLS once goes on to
    host: str = ""  # under which other hosts call the gateways, over TLS; empty: none does
    runtime: RuntimeWish = "auto"
    engine: str = ""  # socket or URL of a container engine; empty looks at the usual places
    start_timeout_s: float = 120
    nats_url: str | None = None  # None: the embedded one; else FOG_NATS_* reach the services
    database_url: str | None = field(default=None, repr=False)
    service_command: Callable[[str], Sequence[str]] = python_module


class Reporter(ChildObserver, Protocol):
    """Tells the user what happens."""

    def step(self, text: str) -> None:
        """Tell what is being waited for."""

    def nodes_connected(self, connected: int, total: int) -> None:
        """Tell how many nodes are there."""

    def error_logged(self, child: str, text: str) -> None:
        """Tell of an error in a child's log."""

    def note(self, text: str) -> None:
        """Tell something worth knowing."""


class LocalSystem:
    """Runs all parts as child processes; use `async with`, then `start`, then `stop`."""

    def __init__(self, options: UpOptions, reporter: Reporter, first_user: FirstUser) -> None:
        self._options = options
        self._data = options.data_dir
        self._reporter = reporter
        self._first_user = first_user
        self._trouble = DiskTrouble(reporter.note)
        self._register = ChildRegister(self._data.children_file, self._trouble)
        self._ports = Ports(self._data.ports_file)
        self._secrets = SecretFiles(self._data.secrets)
        self._watch = LogWatch(self._trouble)
        # In the order of their start: later stages stop first.
        self._stages: list[list[Child]] = []
        self._group = asyncio.TaskGroup()
        self._stack = ExitStack()
        self._state: LocalState | None = None
        self._is_ready = False
        self._waiting: set[str] = set()
        self._log_loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Take the data directory, end what a crash left there.

        Raises:
            DataDirInUse: another supervisor runs on it.
            LocalError: it can't be used.
        """
        self._data.create()
        self._stack.enter_context(self._data.locked())
        for name in await asyncio.to_thread(self._register.end_former):
            self._reporter.note(f"ended {name} that a former run had left behind")
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        """Stop whatever still runs and let go of the data directory."""
        try:
            await self.stop()
        finally:
            await self._group.__aexit__(None, None, None)
            self._stack.close()

    async def start(self) -> LocalState:
        """Start everything and wait until all nodes are connected.

        Raises:
            StartFailed: something isn't ready within the time given, or ends again and again.
            LocalError: a port is taken, or an embedded engine or a container engine is missing.
        """
        choice = await self._choose_runtime()
        self._secrets.ensure()
        nodes = self._nodes()
        self._log_loop = self._group.create_task(self._follow_logs())
        try:
            async with asyncio.timeout(self._options.start_timeout_s):
                await self._start_in_order(nodes, choice)
        except TimeoutError:
            raise StartFailed(self._why_not_ready()) from None
        self._is_ready = True
        self._keep_state()
        return self.state

    @property
    def state(self) -> LocalState:
        """What to tell others about it; there once `start` has returned."""
        if self._state is None:
            raise RuntimeError("not started")
        return self._state

    async def _choose_runtime(self) -> RuntimeChoice:
        options = self._options
        try:
            return await choose_runtime(options.runtime, options.engine, self._data.engine_file)
        except NoEngineError as error:
            raise LocalError(f"{error}; --runtime simulated has nodes that only pretend") from error

    async def _start_in_order(self, nodes: Sequence[SimulatedNode], choice: RuntimeChoice) -> None:
        options = self._options
        settings = load(FleetSettings)
        nats = NatsServer(
            self._ports.internal("nats"),
            self._ports.internal("nats-monitor"),
            self._secrets,
            StreamName(settings.fleet, settings.generation),
        )
        postgres = PostgresServer(
            self._ports.internal("postgres"), read_secret(self._secrets.postgres_password)
        )
        tls = self._tls(settings.fleet)
        plan = ServicePlan(
            data=self._data,
            secrets=self._secrets,
            addresses=choose_addresses(
                self._ports,
                grpc_port=options.grpc_port,
                http_port=options.http_port,
                gateways=options.gateways,
                schedulers=options.schedulers,
            ),
            nats=(lambda _: {}) if options.nats_url else nats.settings,
            database_url=options.database_url or postgres.url,
            command=options.service_command,
            tls=tls,
            host=options.host,
        )
        self._ports.save()
        self._state = LocalState(
            grpc=plan.outside(plan.addresses.gateways[0]),
            http=f"{'https' if tls else 'http'}://{plan.outside(plan.addresses.http[0])}",
            nats=options.nats_url or nats.url,
            database=plan.database_url,
            admin_user=ADMIN_USER,
            admin_password=read_secret(self._secrets.admin_password),
            data_dir=str(self._data.root),
            pids={},
            ca=str(tls.trusted) if tls else "",
            engine=choice.engine_url,
        )
        await self._start_engines(nats, postgres)
        if options.nats_url is None:
            await nats.make_log(settings)
        await self._start_services(plan)
        await self._start_agents(plan, nodes, choice)

    def _tls(self, fleet: str) -> LocalTls | None:
        """Return how the system speaks TLS, if it does."""
        if not self._options.tls and not self._data.ca.exists():
            if self._options.host:
                raise LocalError(
                    "--host lets other hosts call, which would send passwords in the clear: give "
                    "--tls as well"
                )
            return None
        tls = LocalTls(self._data)
        try:
            tls.ensure(fleet)
        except (CertificateError, OSError) as error:
            raise LocalError(f"no authority in {self._data.ca}: {error}") from error
        return tls

    async def _start_engines(self, nats: NatsServer, postgres: PostgresServer) -> None:
        """Start the broker and the database, unless the user has both."""
        children: list[ChildSpec] = []
        probes: dict[str, Probe] = {}
        if self._options.nats_url is None:
            children.append(nats.child(self._data))
            probes["nats"] = http_ok(f"{nats.monitor_url}/healthz")
        if self._options.database_url is None:
            if not self._data.postgres.exists():
                self._reporter.step("making the database (first start)")
            children.append(await asyncio.to_thread(postgres.child, self._data))
            for folder in postgres.opened:
                self._reporter.note(f"let other accounts pass through {folder}, for PostgreSQL")
            probes["postgres"] = postgres.is_ready
        self._reporter.step("starting the broker and the database")
        await self._start_stage(children, probes)

    async def _start_services(self, plan: ServicePlan) -> None:
        self._reporter.step("starting gateway, scheduler and ledger")
        addresses = plan.addresses
        ledger, gateways, schedulers = plan.ledger(), plan.gateways(), plan.schedulers()
        shown = plan.tls.shown_by("scheduler") if plan.tls else None
        probes = {
            ledger.name: grpc_serving(addresses.ledger, shown),
            **{
                spec.name: grpc_serving(address, shown)
                for spec, address in zip(gateways, addresses.gateways, strict=True)
            },
            **{
                spec.name: grpc_serving(address, shown)
                for spec, address in zip(schedulers, addresses.schedulers, strict=True)
            },
        }
        # Stages of their own so that they stop one after the other; they start together, since the
        # gateway needs the others to be ready itself.
        await self._start_stage([ledger], {})
        await self._start_stage(gateways, {})
        await self._start_stage(schedulers, probes)
        scheme, trusted = ("https", plan.tls.client()) if plan.tls else ("http", None)
        await self._wait_ready(
            {
                spec.name: http_ok(f"{scheme}://{address}/readiness", trusted)
                for spec, address in zip(gateways, addresses.http, strict=True)
            }
        )

    async def _start_agents(
        self, plan: ServicePlan, nodes: Sequence[SimulatedNode], choice: RuntimeChoice
    ) -> None:
        kind = "nodes with containers" if choice.is_container else "simulated nodes"
        self._reporter.step(f"starting {len(nodes)} {kind} ({choice.why})")
        await self._let_join(plan, nodes)
        agents = plan.agents(group_fleet(nodes), choice.engine_url)
        names, since = frozenset(node.name for node in nodes), time.time()

        async def all_connected() -> bool:
            connected = await self._first_user.count(self.state, names, since)
            self._reporter.nodes_connected(connected, len(nodes))
            return connected >= len(nodes)

        await self._start_stage(agents, {"nodes": all_connected})

    async def _let_join(self, plan: ServicePlan, nodes: Sequence[SimulatedNode]) -> None:
        """Make a token for nodes that have no certificate yet, in a system that speaks TLS."""
        path = self._secrets.join_token
        path.unlink(missing_ok=True)
        if plan.tls is None:
            return
        folders = {node.name: self._data.node_folder(node.name) for node in nodes}
        missing = plan.tls.without_certificate(folders)
        if missing:
            self._reporter.step(f"making a join token for {len(missing)} nodes")
            write_private(path, await self._first_user.join_token(self.state, len(missing)) + "\n")

    async def _start_stage(self, specs: Sequence[ChildSpec], probes: dict[str, Probe]) -> None:
        stage = []
        for spec in specs:
            self._watch.start(spec.log)
            child = Child(spec, self._register, self)
            stage.append(child)
            self._group.create_task(child.run())
        self._stages.append(stage)
        await self._wait_ready(probes)

    async def _wait_ready(self, probes: dict[str, Probe]) -> None:
        self._waiting = set(probes)

        async def wait(name: str, probe: Probe) -> None:
            await until(probe)
            self._waiting.discard(name)

        async def give_up() -> None:
            while True:
                for child in self._children():
                    if child.ends >= _MOST_ENDS_AT_START:
                        raise StartFailed(self._why_not_ready(child))
                await asyncio.sleep(_LOG_POLL_S)

        try:
            async with asyncio.TaskGroup() as group:
                watchdog = group.create_task(give_up())
                async with asyncio.TaskGroup() as waits:
                    for name, probe in probes.items():
                        waits.create_task(wait(name, probe))
                watchdog.cancel()
        except* LocalError as errors:
            raise _first(errors) from None

    async def stop(self) -> None:
        """Stop agents and services, then the broker and the database; each in its own time."""
        self._is_ready = False
        while self._stages:
            stage = self._stages[-1]
            await asyncio.gather(*(child.stop() for child in stage))
            self._stages.pop()
        if self._log_loop is not None:
            self._log_loop.cancel()
            self._log_loop = None
        if self._state is not None:
            if self._state.engine:
                self._reporter.note("containers run on; the next start finds them again")
            self._keep_state()
            self._state = None

    def kill(self) -> None:
        """End everything by force."""
        for child in self._children():
            child.kill()

    def child_started(self, name: str, pid: int, *, again: bool) -> None:
        """Keep the new pid where others look for it."""
        self._reporter.child_started(name, pid, again=again)
        if self._is_ready:
            self._keep_state()

    def child_ended(self, name: str, how: str, pause_s: float) -> None:
        """Pass it on."""
        self._reporter.child_ended(name, how, pause_s)

    def _children(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]

    def _nodes(self) -> Sequence[SimulatedNode]:
        nodes = self._options.fleet
        if nodes is None:
            nodes = kept_fleet(self._data.fleet_file) or default_fleet()
        keep_fleet(self._data.fleet_file, nodes)
        return nodes

    def _keep_state(self) -> None:
        if self._state is not None:
            self._state.pids.clear()
            self._state.pids.update({"supervisor": os.getpid()} | self._register.pids())
            with self._trouble.borne("other commands may not find what runs here"):
                self._state.write(self._data, ready=self._is_ready, at=time.time())

    async def _follow_logs(self) -> None:
        while True:
            for child, text in self._watch.new_errors():
                self._reporter.error_logged(child, text)
            await asyncio.sleep(_LOG_POLL_S)

    def _why_not_ready(self, failed: Child | None = None) -> str:
        """Say which child isn't ready and show the end of its log."""
        late = [
            child
            for child in self._children()
            if child is failed or (failed is None and child.spec.name in self._waiting)
        ]
        what = failed.spec.name if failed else ", ".join(sorted(self._waiting)) or "the system"
        parts = [
            f"{what} ends again and again"
            if failed
            else f"{what} not ready within {self._options.start_timeout_s:g} s"
        ]
        for child in late:
            parts.append(f"the end of {child.spec.log}:")
            parts += [f"  {line}" for line in last_lines(child.spec.log, _LINES_OF_A_FAILURE)]
        return "\n".join(parts)


def _first(group: BaseExceptionGroup[LocalError]) -> LocalError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, LocalError):
        raise TypeError(f"expected a LocalError, got {error!r}")
    return error
