"""The life of the replicas on one node, from assignment to end.

The core compares what is desired with what was observed and asks for one step at a time
(`_advance`); the answer to that step, or a timer, leads to the next comparison. Observed state,
the pair of restart count and state, only grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fogbank.domain.containers import PublishedPort
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.states import Health, ReplicaState, RestartPolicy
from services.node_agent.core import stimuli as st
from services.node_agent.core.activities import Activities, Activity, Busy
from services.node_agent.core.cut_off import REASON, Contact
from services.node_agent.core.effects import (
    PrepareReplica,
    RemoveContainer,
    StartContainer,
    StopContainer,
)
from services.node_agent.core.kept import AssignmentKept, BootKept, ObservationKept, ReplicaDropped
from services.node_agent.core.preparing import retry_pause_us
from services.node_agent.core.probing import begin_probing, end_probing
from services.node_agent.core.replica import Assignment, Desired, FoundContainer, ReplicaRecord
from services.node_agent.core.restarts import (
    UNKNOWN_EXIT_CODE,
    AgentPolicy,
    End,
    end_found,
    runs_on,
    verdict,
)
from services.node_agent.core.volumes import with_volumes
from services.node_agent.core.workings import Workings

_NOT_WHOLE = "its environment is lost, or its revision no longer kept; deploy it anew"


class Lifecycle:
    """Drives every replica of the node toward what is desired of it."""

    def __init__(self, workings: Workings, policy: AgentPolicy, contact: Contact) -> None:
        self._workings = workings
        self._policy = policy
        self._contact = contact
        self._activities = Activities()
        self._touched: dict[str, None] = {}

    # --- reads ------------------------------------------------------------------------------

    def state_of(self, replica_id: str) -> ReplicaState | None:
        """Tell how far a replica got, the steps before its start included; None if unknown."""
        record = self._records.get(replica_id)
        if record is None:
            return None
        if record.begun and record.observed is not None:
            return record.observed.state
        activity = self._activities.of(replica_id)
        if activity.prepared:
            waits = self._workings.kept.must_wait(record) or self._contact.holds_back(record)
            return ReplicaState.PREPARING if waits else ReplicaState.READY
        return ReplicaState.PREPARING if activity.busy else ReplicaState.ACCEPTED

    def next_due_us(self, now_us: int) -> int:
        """Return the earliest instant at which something is to be tried again; 0 for none."""
        return self._activities.next_due_us(now_us)

    # --- what is desired --------------------------------------------------------------------

    def boot(self, containers: Iterable[FoundContainer], boot_id: str, now_us: int) -> None:
        """Compare the records with what the runtime really has, and go on from there."""
        found = {container.replica_id: container for container in containers}
        host_restarted = self._workings.kept.is_of_another_boot(boot_id)
        for replica_id, record in self._records.items():
            self._resume(record, found.get(replica_id), now_us, host_restarted=host_restarted)
            self._touch(replica_id)
        if boot_id and boot_id != self._workings.kept.boot_id:
            self._workings.keep(BootKept(boot_id))
        for replica_id, container in found.items():
            if replica_id in self._records:
                continue
            if container.running:
                self._adopt(container, now_us)
            else:
                self._workings.ask(RemoveContainer(replica_id))

    def assign(self, assignments: Iterable[Assignment], sequence: int, now_us: int) -> None:
        """Take in changes of what is desired."""
        for assignment in assignments:
            self._assign(assignment, sequence, now_us)

    def keep_only(self, replica_ids: frozenset[str], sequence: int) -> None:
        """Stop all others that live, forget all others that ended."""
        for replica_id in [each for each in self._records if each not in replica_ids]:
            if self._records[replica_id].ended:
                self._drop(replica_id)
            else:
                self._desire(replica_id, Desired.STOP, sequence)

    def report_all_again(self) -> None:
        """Say once more how every replica does: the log may not have all that was said."""
        for replica_id in self._records:
            self._say_again(replica_id)

    def _assign(self, assignment: Assignment, sequence: int, now_us: int) -> None:
        replica_id = assignment.replica_id
        record = self._records.get(replica_id)
        if assignment.desired is Desired.FORGET:
            if record is not None and record.ended:
                self._drop(replica_id)
            elif record is not None:
                self._desire(replica_id, Desired.STOP, sequence)
            return
        if record is not None and record.ended:
            # Whoever still speaks of it has not heard of its end.
            if not self._workings.kept.is_pending(replica_id):
                self._say_again(replica_id)
            return
        unknown_to_log = record is not None and record.spec is None
        # Only who is to run something is told what it is, and only a whole spec replaces another.
        is_whole = assignment.desired is Desired.RUN and not assignment.env_missing
        self._workings.keep(
            AssignmentKept(
                replica_id,
                assignment.desired,
                sequence,
                assignment.spec if is_whole else None,
                assignment.restart_count,
            ),
            urgent=False,
        )
        self._activities.of(replica_id).stop_within_ms = assignment.stop_within_ms
        if record is None and assignment.env_missing:
            record = self._records[replica_id]
            self._finish(record, ReplicaState.REJECTED, 0, _NOT_WHOLE, now_us, unobtainable=True)
        elif unknown_to_log:
            self._say_again(replica_id)
            begin_probing(self._workings, self._records[replica_id])
        self._touch(replica_id)

    def _desire(self, replica_id: str, desired: Desired, sequence: int) -> None:
        self._workings.keep(AssignmentKept(replica_id, desired, sequence), urgent=False)
        self._touch(replica_id)

    def _drop(self, replica_id: str) -> None:
        self._workings.keep(ReplicaDropped(replica_id), urgent=False)
        self._activities.drop(replica_id)
        self._workings.ask(RemoveContainer(replica_id))

    def _say_again(self, replica_id: str) -> None:
        observed = self._records[replica_id].observed
        if observed is not None:
            self._workings.keep(ObservationKept(observed))

    def _resume(
        self,
        record: ReplicaRecord,
        found: FoundContainer | None,
        now_us: int,
        *,
        host_restarted: bool,
    ) -> None:
        observed = record.observed
        if observed is None or not record.begun:
            return
        if observed.final:
            if found is not None and found.running:
                self._workings.ask(RemoveContainer(record.replica_id))
            return
        if not record.alive:
            self._wait_for_restart(record, observed.observed_at_us)
            return
        end = end_found(observed, found, host_restarted=host_restarted)
        if end is not None:
            self._end(record, end, now_us)
        elif found is None or not runs_on(observed, found):
            return  # it is yet to be started
        elif found.restart_count > observed.restart_count:
            # The disk is older than the container.
            self._workings.keep(ObservationKept(found.seen_running(now_us, record.first_health)))
            begin_probing(self._workings, record)
        elif observed.state is ReplicaState.STARTING:
            self._run(record, found.container_id, found.started_at_us, found.ports, now_us)
        else:
            begin_probing(self._workings, record)

    def _adopt(self, container: FoundContainer, now_us: int) -> None:
        """Keep a running container without a record until a gateway says what it is."""
        self._workings.keep(AssignmentKept(container.replica_id, Desired.RUN, 0), urgent=False)
        seen = container.seen_running(now_us, Health.HEALTHY)
        self._workings.keep(ObservationKept(seen, reported=False), urgent=False)

    # --- cut off ----------------------------------------------------------------------------

    def go_on(self, records: Iterable[ReplicaRecord]) -> None:
        """Go on with replicas that waited until the agent is surely heard."""
        for record in records:
            self._touch(record.replica_id)

    def cut_off(self, record: ReplicaRecord) -> None:
        """Stop a replica for good: elsewhere it may be replaced soon."""
        self._activities.of(record.replica_id).cut_off = True
        self._touch(record.replica_id)

    # --- what happened ----------------------------------------------------------------------

    def prepared(self, stimulus: st.Prepared) -> None:
        """Take in that all a replica needs is there."""
        activity = self._answered(stimulus.replica_id, Busy.PREPARING)
        if activity is not None:
            activity.prepared, activity.failures = True, 0

    def prepare_failed(self, stimulus: st.PrepareFailed, now_us: int) -> None:
        """Try again later, or reject the replica."""
        activity = self._answered(stimulus.replica_id, Busy.PREPARING)
        if activity is None:
            return
        activity.failures += 1
        if activity.failures > self._policy.prepare_retries:
            record = self._records[stimulus.replica_id]
            why, missing = stimulus.reason, stimulus.unobtainable
            self._finish(record, ReplicaState.REJECTED, 0, why, now_us, unobtainable=missing)
        else:
            pause_us = retry_pause_us(self._policy, activity.failures, stimulus.chance)
            activity.wait(now_us, pause_us)

    def started(self, stimulus: st.Started, now_us: int) -> None:
        """Take in that a container runs."""
        self._answered(stimulus.replica_id, Busy.STARTING)
        record = self._alive(stimulus.replica_id, stimulus.restart_count)
        seen = record.observed if record is not None else None
        if record is not None and seen is not None and seen.state is ReplicaState.STARTING:
            at_us, ports = stimulus.started_at_us, stimulus.ports
            self._run(record, stimulus.container_id, at_us, ports, now_us)

    def start_failed(self, stimulus: st.StartFailed, now_us: int) -> None:
        """Take in that a container never came up."""
        activity = self._answered(stimulus.replica_id, Busy.STARTING)
        if activity is not None and stimulus.image_missing:
            activity.prepared = False
        record = self._alive(stimulus.replica_id, stimulus.restart_count)
        if record is not None:
            self._end(record, End(UNKNOWN_EXIT_CODE, stimulus.reason), now_us)

    def ended(self, stimulus: st.ContainerEnded, now_us: int) -> None:
        """Take in that a container ended, unless that is known or was another start of it."""
        record = self._alive(stimulus.replica_id, stimulus.restart_count)
        if record is not None:
            self._end(record, End(stimulus.exit_code, stimulus.reason), now_us)

    def stop_finished(self, stimulus: st.StopFinished, now_us: int) -> None:
        """Take in that a container was stopped."""
        self._answered(stimulus.replica_id, Busy.STOPPING)
        record = self._records.get(stimulus.replica_id)
        if record is not None and record.alive:
            exit_code = UNKNOWN_EXIT_CODE if stimulus.exit_code is None else stimulus.exit_code
            self._end(record, End(exit_code), now_us)

    def stop_failed(self, stimulus: st.StopFailed, now_us: int) -> None:
        """Try to stop it again later."""
        activity = self._answered(stimulus.replica_id, Busy.STOPPING)
        if activity is not None:
            activity.wait(now_us, self._policy.stop_retry_delay_us)

    def health(self, stimulus: st.HealthSeen, now_us: int) -> None:
        """Take in what a probe says of a running container."""
        record = self._alive(stimulus.replica_id, stimulus.restart_count)
        seen = record.observed if record is not None else None
        if record is None or seen is None:
            return
        if seen.state is ReplicaState.STARTING:
            # The probe was quicker than the answer to the start.
            self._activities.of(record.replica_id).early_health = stimulus
            return
        if seen.health is not stimulus.health:
            # Lost in a crash, the probe finds it again: it needs no sync, however often it changes.
            reason = with_volumes(stimulus.reason, seen.reason)
            seen = record.seen(seen.state, now_us, health=stimulus.health, reason=reason)
            self._workings.keep(ObservationKept(seen, reported=False), urgent=False)
        probe = record.probe
        if stimulus.health is Health.UNHEALTHY and probe is not None and probe.restart_unhealthy:
            self._activities.of(record.replica_id).broken = stimulus.reason or "its probe fails"
            self._touch(record.replica_id)

    def time_passed(self, now_us: int) -> None:
        """Go on with all that waited for an instant that has come."""
        for replica_id in self._activities.now_due(now_us):
            self._touch(replica_id)

    # --- the next step ----------------------------------------------------------------------

    def advance(self, now_us: int) -> None:
        """Ask for the next step of every replica that something happened to."""
        while self._touched:
            replica_id = next(iter(self._touched))
            del self._touched[replica_id]
            record = self._records.get(replica_id)
            if record is not None and not record.ended:
                self._advance(record, now_us)

    def _advance(self, record: ReplicaRecord, now_us: int) -> None:
        activity = self._activities.of(record.replica_id)
        if record.desired is Desired.STOP or activity.cut_off:
            self._advance_stop(record, activity, now_us)
        elif activity.busy is not None or record.spec is None or activity.due_us > now_us:
            return
        elif record.alive:
            if activity.broken:
                self._ask_stop(record, activity)
            elif record.starting and not self._contact.holds_back(record):
                self._start(record, activity)
        elif not activity.prepared:
            activity.busy = Busy.PREPARING
            self._workings.ask(PrepareReplica(record.replica_id, record.spec))
        elif not self._workings.kept.must_wait(record) and not self._contact.holds_back(record):
            again = record.begun
            self._observe(
                record.seen(ReplicaState.STARTING, now_us, again=again),
                restarted_at_us=now_us if again and not record.interrupted else 0,
            )
            self._start(record, activity)

    def _advance_stop(self, record: ReplicaRecord, activity: Activity, now_us: int) -> None:
        if not record.alive:
            why = REASON if activity.cut_off else ""
            self._finish(record, ReplicaState.STOPPED, 0, why, now_us)
        elif activity.stop_hastens or (activity.busy is None and activity.due_us <= now_us):
            self._ask_stop(record, activity)

    def _ask_stop(self, record: ReplicaRecord, activity: Activity) -> None:
        activity.busy = Busy.STOPPING
        end_probing(self._workings, record)
        grace_ms = record.spec.container.stop_grace_ms if record.spec is not None else 0
        within_ms = activity.stopping_within_ms = activity.stop_within_ms
        self._workings.ask(StopContainer(record.replica_id, activity.cut_off, grace_ms, within_ms))

    def _start(self, record: ReplicaRecord, activity: Activity) -> None:
        if record.spec is not None:
            activity.busy = Busy.STARTING
            self._workings.ask(StartContainer(record.replica_id, record.restart_count, record.spec))

    def _run(
        self,
        record: ReplicaRecord,
        container_id: str,
        started_at_us: int,
        ports: tuple[PublishedPort, ...],
        now_us: int,
    ) -> None:
        activity = self._activities.of(record.replica_id)
        early, activity.early_health = activity.early_health, None
        if early is not None and early.restart_count != record.restart_count:
            early = None
        self._observe(
            record.seen(
                ReplicaState.RUNNING,
                now_us,
                container_id=container_id,
                started_at_us=started_at_us,
                health=early.health if early is not None else record.first_health,
                reason=early.reason if early is not None else "",
                ports=ports,
            )
        )
        begin_probing(self._workings, record)
        self._touch(record.replica_id)

    def _end(self, record: ReplicaRecord, end: End, now_us: int) -> None:
        activity = self._activities.of(record.replica_id)
        cut_off, broken, activity.broken = activity.cut_off, activity.broken, ""
        end_probing(self._workings, record)
        if record.desired is Desired.STOP or cut_off:
            why = REASON if cut_off else ""
            self._finish(record, ReplicaState.STOPPED, end.exit_code, why, now_us)
            return
        exit_code = end.exit_code
        if broken:
            # However politely it ended, it was broken.
            end = End(exit_code or UNKNOWN_EXIT_CODE, f"stopped as unhealthy: {broken}")
        restart = record.spec.restart if record.spec is not None else RestartPolicy.NEVER
        judged = verdict(self._policy, restart, end, restarts=record.restarts, now_us=now_us)
        if judged.final:
            self._finish(record, judged.state, exit_code, judged.reason, now_us)
            return
        seen = record.seen(judged.state, now_us, exit_code=exit_code, reason=judged.reason)
        self._workings.keep(ObservationKept(seen, interrupted=end.interrupted))
        self._wait_for_restart(record, now_us)
        self._touch(record.replica_id)

    def _wait_for_restart(self, record: ReplicaRecord, ended_us: int) -> None:
        """Leave a pause after an end, unless it was the host's doing."""
        if not record.interrupted:
            activity = self._activities.of(record.replica_id)
            activity.wait(ended_us, self._policy.restart_delay_us)

    def _finish(
        self,
        record: ReplicaRecord,
        state: ReplicaState,
        exit_code: int,
        reason: str,
        now_us: int,
        *,
        unobtainable: bool = False,
    ) -> None:
        before = record.observed
        if before is not None and before.state.ended:
            # Stopped while it waited for its next start: the end it had stands, and is final now.
            state, exit_code, reason = max(state, before.state), before.exit_code, before.reason
        seen = record.seen(state, now_us, exit_code=exit_code, reason=reason, final=True)
        self._observe(replace(seen, unobtainable=unobtainable))
        self._activities.drop(record.replica_id)
        for other in self._records.values():
            if other.spec is not None and record.replica_id in other.spec.starts_after:
                self._touch(other.replica_id)

    def _observe(self, seen: ReplicaObservation, *, restarted_at_us: int = 0) -> None:
        self._workings.keep(ObservationKept(seen, restarted_at_us=restarted_at_us))

    # --- small things -----------------------------------------------------------------------

    @property
    def _records(self) -> dict[str, ReplicaRecord]:
        return self._workings.kept.replicas

    def _answered(self, replica_id: str, busy: Busy) -> Activity | None:
        """Return the activity if this answer is the one it waits for."""
        if replica_id not in self._records:
            return None
        activity = self._activities.answered(replica_id, busy)
        if activity is not None:
            self._touch(replica_id)
        return activity

    def _alive(self, replica_id: str, restart_count: int) -> ReplicaRecord | None:
        """Return the record if that very start of its container is thought to live."""
        record = self._records.get(replica_id)
        if record is None or not record.alive or record.restart_count != restart_count:
            return None
        return record

    def _touch(self, replica_id: str) -> None:
        self._touched[replica_id] = None
