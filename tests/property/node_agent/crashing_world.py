"""A node that crashes at every bad moment, and the log that hears from it.

The world holds what is real: the disk (batches, all or nothing), the containers, the fleet's log.
The agent's process is only memory and may be lost at any step: before a batch is saved, after it
and before its effects, or in the middle of these.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from fogbank.domain.containers import ContainerSpec, HealthProbe, ProbeKind
from fogbank.domain.node import Fingerprint
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.resources import NOTHING
from fogbank.domain.states import Health, RestartPolicy
from services.node_agent.adapters import store_tables
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.agent import AgentCore
from services.node_agent.core.kept import Entry
from services.node_agent.core.replica import Assignment, Desired, FoundContainer, ReplicaSpec
from services.node_agent.core.restarts import AgentPolicy

POLICY = AgentPolicy(
    restart_limit=2,
    restart_delay_us=10,
    prepare_retry_delay_us=2,
    report_window=2,
    report_size=3,
    health_pause_us=20,
)
PROBED = ContainerSpec(probe=HealthProbe(ProbeKind.TCP, 80))


@dataclass
class Container:
    """A real container, and what its probe finds."""

    restart_count: int
    running: bool = True
    exit_code: int = 0
    health: Health = Health.UNKNOWN


@dataclass
class FleetLog:
    """The log's side of the stream, by its rules."""

    epoch: int = 0
    last_report: int = 0
    sequence: int = 0
    accepted: list[tuple[int, ReplicaObservation]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    desired: dict[str, Assignment] = field(default_factory=dict)

    def take(self, report: ef.Report) -> bool:
        """Fold a report; tell whether it counts."""
        if report.epoch != self.epoch or report.number != self.last_report + 1:
            return False
        self.last_report = report.number
        self.numbers.append(report.number)
        self.accepted += [(report.number, seen) for seen in report.observations]
        return True

    def last(self, replica_id: str) -> ReplicaObservation | None:
        """The last that counts of a replica."""
        seen = [each for _, each in self.accepted if each.replica_id == replica_id]
        return seen[-1] if seen else None


class World:
    """Everything, moved by a plan of small steps."""

    def __init__(self) -> None:
        self.now_us = 1_000_000
        self.log = FleetLog()
        self.disk = sqlite3.connect(":memory:", isolation_level=None)
        store_tables.open_tables(self.disk)
        self.lazy: list[Entry] = []
        self.containers: dict[str, Container] = {}
        self.answers: list[st.Stimulus] = []
        self.ends: list[st.ContainerEnded] = []
        self.stream = 0
        self.streams = 0
        self.core: AgentCore | None = None
        self.crash_after = -1
        self.host_boots = 1
        self.succeeded: set[str] = set()
        self.boot()

    # --- the process ------------------------------------------------------------------------

    def boot(self) -> None:
        """Start the process from the disk alone."""
        self.core = AgentCore(store_tables.read(self.disk), POLICY)
        self.stream, self.answers, self.lazy = 0, [], []
        found = tuple(
            FoundContainer(name, each.restart_count, f"c-{name}", each.running, 1, each.exit_code)
            for name, each in self.containers.items()
        )
        self.turn([st.Booted(found, f"boot-{self.host_boots}")])

    def turn(self, batch: list[st.Stimulus]) -> None:
        """One turn of the shell: handle, save as one, then the effects; may crash between."""
        if self.core is None:
            self.boot()
            return
        self.now_us += 1
        effects = [e for each in batch for e in self.core.handle(each, self.now_us, self.now_us)]
        effects += self.core.handle(st.Settled(), self.now_us, self.now_us)
        saves = [each for each in effects if isinstance(each, ef.Save)]
        entries = [entry for save in saves for entry in save.entries]
        if self.crashes():
            return
        self.lazy += entries
        if any(save.urgent for save in saves):
            store_tables.write(self.disk, self.lazy, self.core.kept)
            self.lazy = []
            assert store_tables.read(self.disk) == self.core.kept
        for effect in effects:
            if self.crashes():
                return
            self.perform(effect)

    def crashes(self) -> bool:
        """Count a crash point; lose the process if this is the one."""
        self.crash_after -= 1
        if self.crash_after == 0:
            self.core = None
            self.stream, self.answers = 0, []
        return self.core is None

    def perform(self, effect: ef.Effect) -> None:
        """Do what the core wants to the real things."""
        match effect:
            case ef.Send(stream, ef.Hello()) if stream == self.stream:
                self.welcome()
            case ef.Send(stream, ef.Report() as report) if stream == self.stream:
                if self.log.take(report):
                    self.answers.append(st.Acknowledged(report.number))
            case ef.CloseStream(stream) if stream == self.stream:
                self.stream = 0
                self.answers.append(st.StreamClosed())
            case ef.PrepareReplica(replica_id):
                self.answers.append(st.Prepared(replica_id))
            case ef.StartContainer(replica_id, restart_count, _):
                self.start(replica_id, restart_count)
            case ef.StopContainer(replica_id):
                self.stop(replica_id)
            case ef.BeginProbing(replica_id, restart_count):
                present = self.containers.get(replica_id)
                if present is not None and present.health not in {Health.UNKNOWN, effect.health}:
                    self.answers.append(st.HealthSeen(replica_id, restart_count, present.health))
            case ef.RemoveContainer(replica_id):
                self.containers.pop(replica_id, None)

    def start(self, replica_id: str, restart_count: int) -> None:
        """Start a container as the port promises: not twice for the same restart."""
        present = self.containers.get(replica_id)
        if present is None or present.restart_count != restart_count or not present.running:
            self.containers[replica_id] = Container(restart_count)
        self.answers.append(st.Started(replica_id, restart_count, f"c-{replica_id}", 1))

    def stop(self, replica_id: str) -> None:
        """Stop a container."""
        present = self.containers.get(replica_id)
        if present is not None and present.running:
            present.running, present.exit_code = False, 143
        self.answers.append(
            st.StopFinished(replica_id, present.exit_code if present is not None else None)
        )

    def welcome(self) -> None:
        """The gateway's answer to a Hello: an epoch, then all there is to do."""
        self.log.epoch += 1
        self.answers.append(st.Welcomed(5000, self.log.epoch, self.log.last_report))
        self.answers.append(
            st.Assigned(
                complete=True,
                sequence=self.log.sequence,
                previous_sequence=0,
                assignments=tuple(self.log.desired.values()),
            )
        )

    # --- the steps of a plan ----------------------------------------------------------------

    def connect(self) -> None:
        """A gateway can be reached again."""
        if self.stream == 0 and self.core is not None:
            self.streams += 1
            self.stream = self.streams
            self.turn([st.StreamOpened(self.stream, Fingerprint(NOTHING, NOTHING))])

    def disconnect(self) -> None:
        """The stream breaks; answers on their way are lost."""
        if self.stream:
            self.stream = 0
            self.answers = [
                each for each in self.answers if not isinstance(each, st.GatewayMessage)
            ]
            self.turn([st.StreamClosed()])

    def want(self, replica_id: str, desired: Desired, restart: RestartPolicy) -> None:
        """The fold wants something of a replica."""
        known = self.log.desired.get(replica_id)
        if known is None and desired is Desired.STOP:
            return
        if known is not None:
            # A scheduler never takes a stop back: it makes a new replica.
            if known.desired is Desired.STOP:
                return
            restart = known.spec.restart
        spec = ReplicaSpec("d", "web", "nginx", NOTHING, {}, restart, container=PROBED)
        assignment = Assignment(replica_id, desired, spec)
        previous, self.log.sequence = self.log.sequence, self.log.sequence + 1
        self.log.desired[replica_id] = assignment
        if self.stream:
            self.answers.append(
                st.Assigned(
                    complete=False,
                    sequence=self.log.sequence,
                    previous_sequence=previous,
                    assignments=(assignment,),
                )
            )

    def end(self, replica_id: str, exit_code: int) -> None:
        """A container ends by itself."""
        present = self.containers.get(replica_id)
        if present is not None and present.running:
            present.running, present.exit_code = False, exit_code
            if exit_code == 0:
                self.succeeded.add(replica_id)
            if self.core is not None:
                self.answers.append(st.ContainerEnded(replica_id, present.restart_count, exit_code))

    def swing(self, replica_id: str, health: Health) -> None:
        """A container's probe changes its mind, and the agent takes it in at once."""
        present = self.containers.get(replica_id)
        if present is not None and present.running:
            present.health = health
            self.turn([st.HealthSeen(replica_id, present.restart_count, health)])

    def answer(self, count: int) -> None:
        """Hand the process the next things that wait for it, in one batch."""
        batch, self.answers = self.answers[:count], self.answers[count:]
        if batch:
            self.turn(batch)

    def pass_time(self) -> None:
        """Let every delay be over."""
        self.now_us += 100
        self.turn([st.TimePassed()])

    def flow(self) -> None:
        """Let everything go its way for a while, up to the next crash."""
        for _ in range(6):
            if self.core is None:
                return
            self.connect()
            self.answer(len(self.answers))
            self.pass_time()

    def power_cut(self) -> None:
        """Process and containers are gone; the disk and the log remain."""
        self.shut_down()
        self.containers.clear()

    def shut_down(self) -> None:
        """The host restarts, and containers that were asked to end did so politely."""
        self.core = None
        self.stream, self.answers = 0, []
        self.host_boots += 1
        for each in self.containers.values():
            if each.running:
                each.running, each.exit_code = False, 0

    def echo(self) -> None:
        """The runtime tells of all ends so far once more."""
        self.answers += self.ends

    def settle(self) -> Iterator[None]:
        """From now on nothing breaks: run until nothing happens any more."""
        self.crash_after = -1
        for _ in range(300):
            if self.core is None:
                self.boot()
            self.connect()
            if not self.answers:
                self.pass_time()
                if not self.answers:
                    return
            self.answer(len(self.answers))
            yield
