"""The agent of one node as a pure state machine: stimuli go in, effects come out.

It has no clock, no disk and no network; instants are microseconds since 1970 and come with each
stimulus. What must survive a crash is in `Kept` and changes only through saved entries.
"""

from __future__ import annotations

from fogbank.domain.states import ReplicaState
from services.node_agent.core import stimuli as st
from services.node_agent.core.cut_off import Contact, guarded_among, waits_for_contact
from services.node_agent.core.effects import (
    BeatEvery,
    BeatNow,
    CapacityChange,
    CloseStream,
    Effect,
    Heartbeat,
    Hello,
    Report,
    Send,
    Wake,
    WakeAtBoot,
)
from services.node_agent.core.health_reports import HealthReports
from services.node_agent.core.kept import (
    EpochKept,
    Kept,
    ObservationKept,
    ReportsAcknowledged,
    ReportSealed,
    ReportsRenumbered,
    SequenceKept,
)
from services.node_agent.core.lifecycle import Lifecycle
from services.node_agent.core.preparing import note_progress
from services.node_agent.core.replica import ReplicaRecord
from services.node_agent.core.restarts import AgentPolicy
from services.node_agent.core.volumes import note_volumes
from services.node_agent.core.workings import Workings


class AgentCore:
    """Decides for one node what to start, stop, save and say."""

    def __init__(self, kept: Kept, policy: AgentPolicy) -> None:
        self._kept = kept
        self._policy = policy
        self._workings = Workings(kept)
        self._contact = Contact()
        self._lifecycle = Lifecycle(self._workings, policy, self._contact)
        self._health = HealthReports(kept, policy.health_pause_us)
        self._wake_boot_us = 0
        self._beat_asked = False
        self._stream = 0
        self._welcomed = False
        self._host_changed: st.FingerprintChanged | None = None
        self._assigned = False
        self._confirmed = False
        self._waiting_since_us = 0
        self._wake_us = 0

    @property
    def kept(self) -> Kept:
        """The durable state as of the last stimulus; not to be changed from outside."""
        return self._kept

    def state_of(self, replica_id: str) -> ReplicaState | None:
        """Tell how far a replica got; None if the agent doesn't know it."""
        return self._lifecycle.state_of(replica_id)

    def handle(self, stimulus: st.Stimulus, now_us: int, boot_us: int) -> list[Effect]:
        """Take in what happened and return what is to be done, in order.

        `boot_us` is of a clock that goes on while the host sleeps, and never falls.
        """
        self._contact.now_us = boot_us
        if not self._of_stream(stimulus, now_us):
            self._of_replicas(stimulus, now_us)
        self._lifecycle.advance(now_us)
        if isinstance(stimulus, st.Settled):
            self._settle(now_us)
        return self._workings.take()

    def _of_stream(self, stimulus: st.Stimulus, now_us: int) -> bool:
        match stimulus:
            case st.StreamOpened():
                self._open(stimulus)
            case st.StreamClosed():
                self._forget_stream()
            case st.DrainAsked(reason):
                self._close(f"the gateway drains: {reason}", redial_now=True)
            case st.Welcomed():
                self._welcome(stimulus, now_us)
            case st.Assigned():
                self._assign(stimulus, now_us)
            case st.Acknowledged(number):
                self._acknowledge(number, now_us)
            case st.HeartbeatAnswered(number):
                self._contact.answered(number)
                self._beat_asked = False
                self._lifecycle.go_on(self._guarded)
            case st.NodeRemoved():
                # What ran here runs elsewhere by now.
                self._lifecycle.keep_only(frozenset(), self._kept.sequence)
            case st.HeartbeatDue():
                self._beat(stimulus)
            case st.FingerprintChanged():
                self._host_changed = stimulus
                self._tell_host()
            case _:
                return False
        return True

    def _of_replicas(self, stimulus: st.Stimulus, now_us: int) -> None:
        lifecycle = self._lifecycle
        match stimulus:
            case st.Booted(containers, boot_id):
                lifecycle.boot(containers, boot_id, now_us)
            case st.Prepared():
                lifecycle.prepared(stimulus)
            case st.PrepareProgress() | st.VolumesMeasured():
                self._note(stimulus, now_us)
            case st.PrepareFailed():
                lifecycle.prepare_failed(stimulus, now_us)
            case st.Started():
                lifecycle.started(stimulus, now_us)
            case st.StartFailed():
                lifecycle.start_failed(stimulus, now_us)
            case st.ContainerEnded():
                lifecycle.ended(stimulus, now_us)
            case st.HealthSeen():
                lifecycle.health(stimulus, now_us)
            case st.StopFinished():
                lifecycle.stop_finished(stimulus, now_us)
            case st.StopFailed():
                lifecycle.stop_failed(stimulus, now_us)
            case st.TimePassed():
                self._wake_us = self._wake_boot_us = 0
                lifecycle.time_passed(now_us)
                self._lose_patience(now_us)

    def _note(self, stimulus: st.PrepareProgress | st.VolumesMeasured, now_us: int) -> None:
        """Report what leads to nothing else."""
        if isinstance(stimulus, st.PrepareProgress):
            note_progress(self._workings, stimulus.replica_id, stimulus.text, now_us)
        else:
            note_volumes(self._workings, stimulus, now_us)

    # --- the stream -------------------------------------------------------------------------

    def _open(self, stimulus: st.StreamOpened) -> None:
        self._forget_stream()
        self._stream = stimulus.stream
        running = tuple(
            record.observed
            for record in self._kept.replicas.values()
            if record.alive and record.observed is not None
        )
        hello = Hello(
            self._kept.epoch, self._kept.sequence, stimulus.fingerprint, running, stimulus.details
        )
        self._host_changed = None
        self._contact.greeted()
        self._workings.ask(Send(self._stream, hello))

    def _tell_host(self) -> None:
        """Tell how the host changed since the Hello, once there was a Welcome."""
        changed = self._host_changed
        if self._welcomed and changed is not None:
            change = CapacityChange(changed.fingerprint, changed.details)
            self._workings.ask(Send(self._stream, change))
            self._host_changed = None

    def _forget_stream(self) -> None:
        self._stream = 0
        self._welcomed = self._assigned = self._confirmed = self._beat_asked = False
        self._waiting_since_us = 0

    def _close(self, reason: str, *, redial_now: bool = False) -> None:
        if self._stream:
            self._workings.ask(CloseStream(self._stream, reason, redial_now))
            self._forget_stream()

    def _welcome(self, stimulus: st.Welcomed, now_us: int) -> None:
        kept = self._kept
        if not self._stream or self._welcomed:
            self._close("a Welcome that nobody asked for")
            return
        if stimulus.epoch <= kept.epoch:
            self._close(f"epoch {stimulus.epoch} does not follow epoch {kept.epoch}")
            return
        self._welcomed = True
        self._contact.welcomed()
        self._lifecycle.go_on(self._guarded)
        self._workings.keep(EpochKept(stimulus.epoch))
        logged = stimulus.last_report_number
        oldest = min(kept.outbox, default=kept.last_number + 1)
        if oldest - 1 <= logged <= kept.last_number:
            self._workings.keep(ReportsAcknowledged(logged))
        else:
            # The log, or this disk, was put back to an older state: agree on the log's count.
            self._workings.keep(ReportsRenumbered(logged))
            self._lifecycle.report_all_again()
        for number, observations in kept.outbox.items():
            self._workings.ask(Send(self._stream, Report(kept.epoch, number, observations)))
        self._confirmed = bool(kept.outbox)
        self._waiting_since_us = now_us if kept.outbox else 0
        self._workings.ask(BeatEvery(self._stream, stimulus.heartbeat_period_ms))
        self._tell_host()

    def _assign(self, stimulus: st.Assigned, now_us: int) -> None:
        kept = self._kept
        if not self._welcomed:
            self._close("assignments before a Welcome")
            return
        if stimulus.complete:
            if stimulus.sequence < kept.sequence:
                self._close(f"assignments of {stimulus.sequence} after those of {kept.sequence}")
                return
            self._assigned = True
        elif not self._assigned or stimulus.previous_sequence != kept.sequence:
            self._close(
                f"a gap in the assignments: have those of {kept.sequence}, "
                f"got a change to those of {stimulus.previous_sequence}"
            )
            return
        self._workings.keep(SequenceKept(stimulus.sequence), urgent=False)
        self._lifecycle.assign(stimulus.assignments, stimulus.sequence, now_us)
        if stimulus.complete:
            listed = frozenset(each.replica_id for each in stimulus.assignments)
            self._lifecycle.keep_only(listed, stimulus.sequence)

    def _acknowledge(self, number: int, now_us: int) -> None:
        outbox = self._kept.outbox
        if not self._welcomed or not outbox or number < min(outbox):
            return
        self._workings.keep(ReportsAcknowledged(min(number, self._kept.last_number)), urgent=False)
        self._waiting_since_us = now_us if outbox else 0

    def _beat(self, stimulus: st.HeartbeatDue) -> None:
        if self._welcomed:
            heartbeat = Heartbeat(
                stimulus.cpu_percent,
                stimulus.memory_percent,
                self._kept.reflects_sequence(),
                self._contact.beat(),
            )
            self._workings.ask(Send(self._stream, heartbeat))

    def _lose_patience(self, now_us: int) -> None:
        since_us = self._waiting_since_us
        if since_us and now_us >= since_us + self._policy.ack_patience_us:
            self._close("reports remain unacknowledged")

    # --- the end of a batch -----------------------------------------------------------------

    def _settle(self, now_us: int) -> None:
        boot_dues = [self._stop_what_is_cut_off(now_us)]
        if self._welcomed:
            self._report(now_us)
            boot_dues.append(self._health.next_due_us(self._contact.now_us))
        wake_boot_us = min((due for due in boot_dues if due), default=0)
        if wake_boot_us != self._wake_boot_us:
            self._wake_boot_us = wake_boot_us
            self._workings.ask(WakeAtBoot(wake_boot_us))
        wake_us = self._next_wake_us(now_us)
        if wake_us != self._wake_us:
            self._wake_us = wake_us
            self._workings.ask(Wake(wake_us))

    def _stop_what_is_cut_off(self, now_us: int) -> int:
        """Stop what may not run on any more; return when to look again, 0 for never."""
        guarded = self._guarded
        self._contact.guard(needed=bool(guarded))
        wake_us = 0
        for record in guarded:
            ends_us = self._contact.ends_us(record)
            if ends_us <= self._contact.now_us:
                self._lifecycle.cut_off(record)
            else:
                wake_us = min(wake_us or ends_us, ends_us)
        self._lifecycle.advance(now_us)
        self._ask_for_contact(guarded)
        if self._welcomed and guarded:
            beat_us = min(self._contact.beat_due_us(record) for record in guarded)
            wake_us = min(wake_us or beat_us, beat_us)
        return wake_us

    def _ask_for_contact(self, guarded: list[ReplicaRecord]) -> None:
        """Have a heartbeat leave at once if a replica waits for its answer, or soon would."""
        if not self._welcomed:
            return
        waiting = any(waits_for_contact(record, self._contact) for record in guarded)
        due = any(self._contact.beat_due_us(each) <= self._contact.now_us for each in guarded)
        if due or (waiting and not self._beat_asked):
            self._beat_asked = True
            self._contact.beat_asked()
            self._workings.ask(BeatNow(self._stream))

    @property
    def _guarded(self) -> list[ReplicaRecord]:
        return guarded_among(self._kept.replicas.values())

    def _report(self, now_us: int) -> None:
        """Seal what was seen into reports, as many as may be on their way at once."""
        kept = self._kept
        while len(kept.outbox) < self._policy.report_window:
            if len(kept.unreported) < self._policy.report_size:
                for seen in self._health.take_due(self._contact.now_us):
                    self._workings.keep(ObservationKept(seen))
            if self._confirmed and not kept.unreported:
                return
            number = kept.last_number + 1
            count = min(len(kept.unreported), self._policy.report_size)
            self._workings.keep(ReportSealed(number, count))
            self._workings.ask(Send(self._stream, Report(kept.epoch, number, kept.outbox[number])))
            self._confirmed = True
            self._waiting_since_us = self._waiting_since_us or now_us

    def _next_wake_us(self, now_us: int) -> int:
        dues = [self._lifecycle.next_due_us(now_us)]
        if self._waiting_since_us:
            dues.append(self._waiting_since_us + self._policy.ack_patience_us)
        return min((due for due in dues if due), default=0)
