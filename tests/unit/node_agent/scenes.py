"""A core on its own, and short names for what happens to it."""

from fogbank.domain.node import Fingerprint
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.resources import Resources
from fogbank.domain.states import ReplicaState, RestartPolicy
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.agent import AgentCore
from services.node_agent.core.kept import Entry, Kept, apply
from services.node_agent.core.replica import Assignment, Desired, FoundContainer, ReplicaSpec
from services.node_agent.core.restarts import AgentPolicy

SECOND_US = 1_000_000
PERIOD_MS = 5_000
FINGERPRINT = Fingerprint(Resources(4000, 8192, 100), Resources(4000, 8192, 100))


def spec(
    image: str = "nginx",
    restart: RestartPolicy = RestartPolicy.ALWAYS,
    starts_after: tuple[str, ...] = (),
    stop_after_ms: int = 0,
) -> ReplicaSpec:
    env, amounts = {"KEY": "value"}, Resources(500, 512, 1)
    return ReplicaSpec("d-1", "web", image, amounts, env, restart, starts_after, stop_after_ms)


# Of what is asked for, this goes without saying.
_UNTOLD = ef.Save | ef.Wake | ef.WakeAtBoot


class Scene:
    """A core with a clock that the test moves; remembers what was saved, sent and asked for."""

    def __init__(self, policy: AgentPolicy | None = None) -> None:
        self.policy = policy or AgentPolicy()
        self.now_us = 1_000_000 * SECOND_US
        self.boot_us = 1_000 * SECOND_US
        self.boots = 1
        self.saved: list[Entry] = []
        self.sent: list[ef.Outgoing] = []
        self.core = AgentCore(Kept(), self.policy)
        self.effects: list[ef.Effect] = []
        self.streams = 0
        self.sequence = 100
        self.epoch = 1

    def happen(self, *stimuli: st.Stimulus) -> list[ef.Effect]:
        """Hand in a batch; return what is to be done, saves left out."""
        effects = [e for each in stimuli for e in self.core.handle(each, self.now_us, self.boot_us)]
        effects += self.core.handle(st.Settled(), self.now_us, self.boot_us)
        self.saved += [e for each in effects if isinstance(each, ef.Save) for e in each.entries]
        self.sent += [each.message for each in effects if isinstance(each, ef.Send)]
        self.effects = effects
        return [each for each in effects if not isinstance(each, _UNTOLD)]

    def boot(self, *containers: FoundContainer) -> list[ef.Effect]:
        return self.happen(st.Booted(containers, f"boot-{self.boots}"))

    def reboot(self, *containers: FoundContainer) -> list[ef.Effect]:
        """The process ends and starts again from what was saved."""
        kept = Kept()
        for entry in self.saved:
            apply(kept, entry)
        self.core = AgentCore(kept, self.policy)
        self.sent = []
        return self.boot(*containers)

    def reboot_host(self, *containers: FoundContainer) -> list[ef.Effect]:
        """The host and all on it end; what is left are its disk and ended containers."""
        self.boots += 1
        return self.reboot(*containers)

    def open(self) -> list[ef.Effect]:
        self.streams += 1
        return self.happen(st.StreamOpened(self.streams, FINGERPRINT))

    def welcome(self, last_report_number: int = 0) -> list[ef.Effect]:
        self.epoch += 1
        return self.happen(st.Welcomed(PERIOD_MS, self.epoch, last_report_number))

    def connect(self, last_report_number: int = 0) -> None:
        self.open()
        self.welcome(last_report_number)

    def complete(self, *assignments: Assignment) -> list[ef.Effect]:
        self.sequence += 1
        return self.happen(
            st.Assigned(
                complete=True,
                sequence=self.sequence,
                previous_sequence=0,
                assignments=assignments,
            )
        )

    def incremental(self, *assignments: Assignment) -> list[ef.Effect]:
        previous, self.sequence = self.sequence, self.sequence + 1
        return self.happen(
            st.Assigned(
                complete=False,
                sequence=self.sequence,
                previous_sequence=previous,
                assignments=assignments,
            )
        )

    def pass_s(self, seconds: float) -> list[ef.Effect]:
        self.now_us += int(seconds * SECOND_US)
        self.boot_us += int(seconds * SECOND_US)
        return self.happen(st.TimePassed())

    def run(self, replica_id: str, restart_count: int = 0) -> None:
        """Answer all that it takes to get an assigned replica running."""
        self.happen(st.Prepared(replica_id))
        self.happen(self.started(replica_id, restart_count))

    def started(self, replica_id: str, restart_count: int = 0) -> st.Started:
        return st.Started(replica_id, restart_count, f"c-{replica_id}", self.now_us)

    @property
    def reports(self) -> list[ef.Report]:
        return [message for message in self.sent if isinstance(message, ef.Report)]

    def last_seen(self, replica_id: str) -> ReplicaObservation:
        """What was last reported of a replica."""
        seen = [
            each
            for report in self.reports
            for each in report.observations
            if each.replica_id == replica_id
        ]
        return seen[-1]

    def states(self, replica_id: str) -> list[tuple[int, str]]:
        """All that was reported of a replica: restart count and state."""
        return [
            (each.restart_count, each.state.name)
            for report in self.reports
            for each in report.observations
            if each.replica_id == replica_id
        ]

    def state(self, replica_id: str) -> ReplicaState | None:
        return self.core.state_of(replica_id)


def to_run(
    replica_id: str,
    wanted: ReplicaSpec | None = None,
    *,
    env_missing: bool = False,
    restart_count: int = 0,
) -> Assignment:
    return Assignment(replica_id, Desired.RUN, wanted or spec(), env_missing, restart_count)


def to_stop(replica_id: str, restart_count: int = 0, within_ms: int = 0) -> Assignment:
    return Assignment(replica_id, Desired.STOP, spec(), False, restart_count, within_ms)


def to_forget(replica_id: str) -> Assignment:
    return Assignment(replica_id, Desired.FORGET, spec())


def running(replica_id: str, restart_count: int = 0) -> FoundContainer:
    return FoundContainer(replica_id, restart_count, f"c-{replica_id}", True, 7)


def gone(replica_id: str, exit_code: int, restart_count: int = 0) -> FoundContainer:
    return FoundContainer(replica_id, restart_count, f"c-{replica_id}", False, 7, exit_code)
