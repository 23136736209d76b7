"""What outlives a process: a node's disk and containers, the ledger's database, sealed values."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import structs

from fogbank.domain.containers import HealthProbe
from fogbank.domain.errands import Brought
from fogbank.domain.node import NO_DETAILS, Fingerprint, HostDetails
from fogbank.domain.resources import NOTHING, Resources
from fogbank.domain.states import RuntimeKind
from fogbank.log.second_copy import HighestCopy
from services.ledger.app.ports import (
    Checkpoint,
    KeptCopy,
    RivalLedgerError,
    StoreUnavailableError,
)
from services.ledger.core.log_tree import TreeGrowth, TreeHead
from services.ledger.core.projection import TableChanges
from services.ledger.core.rows import CommitRow
from services.node_agent.app.ports import (
    ImageMissingError,
    ProbeTry,
    Progress,
    RuntimeFaultError,
    StartedContainer,
)
from services.node_agent.core.kept import Entry, Kept, apply
from services.node_agent.core.replica import FoundContainer, ReplicaSpec
from services.node_agent.core.stimuli import ContainerEnded, RuntimeEvent
from tests.simulation.loop import Process, pause
from tests.simulation.world import Link, SimClock, World, require_alive

# Images that run on and on, each another one.
GOOD_IMAGES = ("web", "web-2", "web-3")


def ends_badly(image: str) -> bool:
    """Tell whether containers of an image fail, faults or not."""
    return image.partition(":")[0] in {"crash", "absent"}


class Ran(NamedTuple):
    """A container that ran: what, when (seconds of the run; no end yet is infinite)."""

    node_id: str
    replica_id: str
    restart_count: int
    resources: Resources
    began_s: float
    ended_s: float = float("inf")


@dataclass(slots=True)
class _Container:
    replica_id: str
    restart_count: int
    resources: Resources
    started_at_us: int
    history: int
    exit_code: int = 0
    running: bool = True


@dataclass(slots=True)
class Machine:
    """A fog host: its disk, its containers, its room; `journal` is what was synced.

    `unattended` tells that its agent did not run for some time, while containers did.
    """

    world: World
    node_id: str
    name: str
    clock: SimClock
    fingerprint: Fingerprint
    load_percent: float = 10.0
    journal: list[tuple[Entry, ...]] = field(default_factory=list)
    containers: dict[str, _Container] = field(default_factory=dict)
    history: list[Ran] = field(default_factory=list)
    shrunk: bool = False
    unattended: bool = False
    identities: int = 1
    boots: int = 1
    events: asyncio.Queue[RuntimeEvent] = field(default_factory=asyncio.Queue)

    def running(self) -> dict[str, int]:
        """Return the replicas whose containers run, with their restart counts."""
        return {
            each.replica_id: each.restart_count for each in self.containers.values() if each.running
        }

    def reboot(self) -> None:
        """End all containers, as a power cut does."""
        self.boots += 1
        for each in self.containers.values():
            self.end(each, 137)

    def lose_disk(self) -> None:
        """Lose what was saved, the identity too; containers run on."""
        self.journal.clear()
        self.identities += 1
        self.shrunk = True  # to the log it is another machine, with nothing on it
        number = self.world.chance(f"machine/{self.name}/{self.identities}").getrandbits(128)
        self.node_id = str(UUID(int=number, version=4))

    def end(self, container: _Container, exit_code: int) -> None:
        """End a container, if it runs."""
        if container.running:
            container.running = False
            container.exit_code = exit_code
            ran = self.history[container.history]
            self.history[container.history] = ran._replace(ended_s=self.world.loop.time())
            self.world.tell(self.name, f"{container.replica_id} ends ({exit_code})")


class SimDisk:
    """A `NodeDisk`: what was saved is there after a crash, what was on its way may be."""

    def __init__(self, machine: Machine, process: Process, link: Link) -> None:
        self._machine = machine
        self._process = process
        self._link = link

    async def load(self) -> tuple[str, Kept]:
        await pause(self._link.delay_s())
        kept = Kept()
        for saved in self._machine.journal:
            for entry in saved:
                apply(kept, entry)
        return self._machine.node_id, kept

    async def save(self, entries: Sequence[Entry], kept: Kept) -> None:
        if not self._process.alive:
            return
        saved = tuple(entries)
        written = self._link.uniform(0, 1)
        if written < 0.5:
            self._machine.journal.append(saved)
        await pause(self._link.delay_s())
        require_alive(self._process)
        if written >= 0.5:
            self._machine.journal.append(saved)

    async def close(self) -> None:
        """Nothing is open."""


class SimRuntime:
    """A `ContainerRuntime` of pretended containers, which outlive the agent.

    Images: `job:SECONDS` ends well after so long, `crash:SECONDS` badly, `flaky:SECONDS` badly
    until the faults are over; `absent` cannot be fetched; others run on.
    """

    def __init__(self, machine: Machine, process: Process, link: Link) -> None:
        self._machine = machine
        self._process = process
        self._link = link
        machine.events = asyncio.Queue()

    @property
    def kind(self) -> RuntimeKind:
        return RuntimeKind.SIMULATED

    async def prepare(self, spec: ReplicaSpec, progress: Progress) -> None:
        await self._takes(0.3)
        if self._link.happens(self._machine.world.noise.start_fails):
            raise RuntimeFaultError("the image cannot be fetched for now")
        if spec.image == "absent":
            raise ImageMissingError("no such image")

    async def volume_bytes(self, deployment_id: str, name: str) -> int:
        return 0

    async def collect(self, needed: Collection[str]) -> None:
        """There are no images to remove."""

    async def start(
        self, replica_id: str, restart_count: int, spec: ReplicaSpec
    ) -> StartedContainer:
        machine = self._machine
        present = machine.containers.get(replica_id)
        if present is not None and present.running and present.restart_count == restart_count:
            return StartedContainer(f"c-{replica_id}", present.started_at_us)
        await self._takes(0.5)
        if self._link.happens(machine.world.noise.start_fails):
            raise RuntimeFaultError("it does not start")
        present = machine.containers.get(replica_id)
        if present is not None and present.running:
            machine.world.problem(f"{machine.name} starts {replica_id} anew although it runs")
            machine.end(present, 137)
        ran = Ran(
            machine.node_id, replica_id, restart_count, spec.resources, machine.world.loop.time()
        )
        machine.history.append(ran)
        container = _Container(
            replica_id,
            restart_count,
            spec.resources,
            machine.clock.now_us(),
            len(machine.history) - 1,
        )
        machine.containers[replica_id] = container
        machine.world.tell(machine.name, f"{replica_id} runs, restart {restart_count}")
        kind, _, seconds = spec.image.partition(":")
        if kind in {"job", "crash"} or (kind == "flaky" and machine.world.faulty):
            code = 0 if kind == "job" else 1
            machine.world.later(float(seconds), self._ends, container, code)
        return StartedContainer(f"c-{replica_id}", container.started_at_us)

    def _ends(self, container: _Container, code: int) -> None:
        if container.running:
            self._machine.end(container, code)
            self._machine.events.put_nowait(
                ContainerEnded(container.replica_id, container.restart_count, code)
            )

    async def stop(self, replica_id: str, grace_ms: int) -> int | None:
        await self._takes(2.0)
        container = self._machine.containers.get(replica_id)
        if container is None:
            return None
        self._machine.end(container, 143)
        return container.exit_code

    async def remove(self, replica_id: str) -> None:
        await self._takes(0.2)
        container = self._machine.containers.pop(replica_id, None)
        if container is not None:
            self._machine.end(container, 137)

    async def containers(self) -> Sequence[FoundContainer]:
        await self._takes(0.1)
        return [
            FoundContainer(
                each.replica_id,
                each.restart_count,
                f"c-{each.replica_id}",
                each.running,
                each.started_at_us,
                each.exit_code,
            )
            for each in self._machine.containers.values()
        ]

    def probing(self, replica_id: str, probe: HealthProbe) -> AbstractAsyncContextManager[ProbeTry]:
        raise NotImplementedError("no deployment here has a probe")

    def logs(
        self, replica_id: str, tail: int, *, follow: bool = False, previous: bool = False
    ) -> AsyncIterator[str]:
        raise NotImplementedError("nobody here reads logs")

    def execute(self, replica_id: str, command: Sequence[str]) -> AsyncIterator[Brought]:
        raise NotImplementedError("nobody here runs commands")

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            event = await self._machine.events.get()
            yield event
            if self._link.happens(0.2):
                yield event

    async def _takes(self, seconds: float) -> None:
        require_alive(self._process)
        await pause(self._link.uniform(0.001, seconds))
        require_alive(self._process)


@dataclass(slots=True)
class SimHost:
    """A `Host` that says what the machine is."""

    machine: Machine

    def fingerprint(self) -> Fingerprint:
        return self.machine.fingerprint

    async def look(self) -> None:
        return None

    def details(self) -> HostDetails:
        return NO_DETAILS

    def usage(self) -> tuple[float, float]:
        return self.machine.load_percent, self.machine.load_percent / 2


class Database:
    """The ledger's tables and its copy of the log; a transaction is all or nothing."""

    def __init__(self) -> None:
        self.checkpoint = Checkpoint()
        self.commits: list[CommitRow] = []
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in ("deployments", "nodes")}
        self.changes: list[Any] = []
        self.tree = TreeHead()
        self.leader: Process | None = None

    def apply(
        self, commits: Sequence[CommitRow], changes: TableChanges, growth: TreeGrowth
    ) -> None:
        """Write one transaction."""
        self.commits += commits
        self.tree = growth.head
        self.checkpoint = Checkpoint(commits[-1].sequence, commits[-1].digest)
        for table, rows, states in (
            ("deployments", changes.deployments, changes.deployment_states),
            ("nodes", changes.nodes, changes.node_states),
        ):
            known = self.tables[table]
            known |= {row.id: row for row in rows}
            for state in states:
                known[state.id] = structs.replace(known[state.id], **structs.asdict(state))
        self.changes += changes.changes


class SimStore:
    """A `LedgerStore` of one ledger process on the database."""

    def __init__(self, database: Database, process: Process, link: Link, world: World) -> None:
        self._database = database
        self._process = process
        self._link = link
        self._world = world

    async def _go(self) -> None:
        await pause(self._link.delay_s())
        require_alive(self._process)
        if not self._link.whole or self._link.happens(self._world.noise.store_fails):
            self._world.fault("store unanswered", self._process.name)
            await pause(1.0)
            raise StoreUnavailableError("no answer")

    async def checkpoint(self) -> Checkpoint:
        await self._go()
        return self._database.checkpoint

    async def kept_copy(self) -> KeptCopy:
        await self._go()
        commits = self._database.commits
        if not commits:
            return KeptCopy()
        return KeptCopy(len(commits), commits[-1].sequence, sha256(commits[-1].data).digest())

    async def tree(self) -> TreeHead:
        await self._go()
        return self._database.tree

    async def write(
        self,
        former: Checkpoint,
        commits: Sequence[CommitRow],
        changes: TableChanges,
        growth: TreeGrowth,
    ) -> Checkpoint:
        await self._go()
        if self._database.checkpoint != former:
            raise RivalLedgerError("the checkpoint is another one")
        self._database.apply(list(commits), changes, growth)
        await self._go()
        return self._database.checkpoint

    async def try_lead(self) -> bool:
        await self._go()
        leader = self._database.leader
        if leader is None or not leader.alive:
            self._database.leader = self._process
        return self._database.leader is self._process


@dataclass(slots=True)
class SimCopy:
    """A `SecondCopy`: what the ledger's database holds."""

    database: Database
    process: Process
    link: Link

    async def highest(self) -> HighestCopy:
        await pause(self.link.delay_s())
        require_alive(self.process)
        checkpoint = self.database.checkpoint
        return HighestCopy(checkpoint.position, checkpoint.digest)


class Sealed:
    """A `SealedEnvironments` that never fails."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, str]] = {}

    def key(self, env: Mapping[str, str]) -> str:
        return sha256(json.dumps(dict(env), sort_keys=True).encode()).hexdigest() if env else ""

    async def seal(self, env: Mapping[str, str]) -> str:
        self._kept[self.key(env)] = dict(env)
        return self.key(env)

    async def unseal(self, keys: Collection[str]) -> dict[str, dict[str, str]]:
        return {key: self._kept[key] for key in sorted(keys) if key in self._kept}


def total(rans: Sequence[Ran]) -> Resources:
    """Return what containers take together."""
    return sum((each.resources for each in rans), NOTHING)
