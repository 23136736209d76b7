"""One agent's stream, from the handshake on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn
from uuid import uuid4

import structlog

from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errands import Errand
from fogbank.domain.errors import (
    AbortedError,
    FogError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from fogbank.domain.facts import NodeFact
from fogbank.runtime.clock import Clock
from fogbank.runtime.crash_points import crash_point
from services.gateway.app.fold import FleetFold
from services.gateway.app.ports import (
    CommitAppender,
    Heard,
    SealedEnvironments,
    TelemetryPublisher,
)
from services.gateway.core import agent_events
from services.gateway.core.agent_messages import (
    Ack,
    Assignment,
    Assignments,
    CapacityChange,
    Drain,
    FromAgent,
    Heartbeat,
    HeartbeatAnswer,
    NodeCertificate,
    Report,
    ToAgent,
    Welcome,
)
from services.gateway.core.assignments import Task, Wanted, changed_tasks, tasks_of
from services.gateway.core.hello import Hello, check_details, check_fingerprint
from services.gateway.core.join_refusals import removed
from services.gateway.core.joining import certificate_ended
from services.gateway.core.load_steps import LoggedLoad, next_load

_log = structlog.get_logger(__name__)

_RETRY_S = 1.0
_RETRY_HINT_MS = 1_000
_US_PER_S = 1_000_000
# More than an agent sends without an acknowledgement; of one that sends more nothing else is heard.
_MOST_UNWRITTEN = 8


@dataclass(frozen=True, slots=True)
class _LoadMoved:
    """The node's load moved by a step, with all at work that was assigned up to a sequence."""

    load: LoggedLoad
    reflects_sequence: int


@dataclass(frozen=True, slots=True)
class AgentPorts:
    """What sessions work with; `fold_timeout_s` bounds waits for the gateway's own reading."""

    fold: FleetFold
    appender: CommitAppender
    environments: SealedEnvironments
    telemetry: TelemetryPublisher
    clock: Clock
    fold_timeout_s: float = 10


class AgentSession:
    """Takes in what an agent says (`receive`, `write`) and tells it what to do (`messages`).

    They raise a FogError when the stream is to be closed; the agent shakes hands again then.
    """

    def __init__(
        self,
        hello: Hello,
        welcome: Welcome,
        ports: AgentPorts,
        trusted_until_us: int | None = None,
    ) -> None:
        self._hello = hello
        self._trusted_until_us = trusted_until_us
        self._welcome = welcome
        self._ports = ports
        self._fold = ports.fold
        self._woken = asyncio.Event()
        self._draining = ""
        self._ended = False
        self._error: BaseException | None = None
        self._told: dict[str, Task] = {}
        self._told_sequence = 0
        self._next_report = welcome.last_report_number + 1
        self._acked_number = welcome.last_report_number
        self._ack_again = False
        self._beat_heard = self._beat_answered = 0
        self._unwritten: asyncio.Queue[Report | CapacityChange | _LoadMoved]
        self._unwritten = asyncio.Queue(_MOST_UNWRITTEN)
        self._load_waits = False
        self._errands: list[Errand] = []
        self._certificate: NodeCertificate | None = None
        node = self._node()
        self._load = LoggedLoad(node.cpu_percent, node.memory_percent)

    @property
    def node_id(self) -> str:
        """The node's id."""
        return self._hello.node_id

    @property
    def is_current(self) -> bool:
        """Whether the node has not shaken hands again since, here or elsewhere."""
        return self._node().epoch == self._welcome.epoch

    def wake(self) -> None:
        """Have the session look whether there is something to say."""
        self._woken.set()

    def heard(self, epoch: int, number: int) -> None:
        """Pass on that the leading scheduler heard a heartbeat of this epoch."""
        if epoch == self._welcome.epoch and number > self._beat_heard:
            self._beat_heard = number
            self._woken.set()

    def send(self, errand: Errand) -> None:
        """Have the agent run an errand."""
        self._errands.append(errand)
        self._woken.set()

    def renewed(self, certificate: NodeCertificate) -> None:
        """Give the agent a new certificate, and trust it for as long as that lasts."""
        self._certificate = certificate
        self._trusted_until_us = certificate.ends_at_us
        self._woken.set()

    def drain(self, reason: str) -> None:
        """Have the agent call another gateway."""
        self._draining = reason
        self._woken.set()

    def end(self, error: BaseException | None = None) -> None:
        """Have `messages` end, with an error if there is one: the agent says nothing more."""
        self._ended = True
        self._error = self._error or error
        self._woken.set()

    def _node(self) -> NodeFact:
        return self._fold.fleet.facts.nodes[self._hello.node_id]

    # --- to the agent -------------------------------------------------------------------------

    async def messages(self) -> AsyncIterator[ToAgent]:
        """Yield what the agent is to be told; ends after a Drain, or when `end` was called.

        Raises:
            AbortedError: the node shook hands again, here or elsewhere, or was declared offline.
            FailedPreconditionError: the node was removed.
            UnauthenticatedError: its certificate ended and was not renewed.
            UnavailableError: this gateway is not as far as the agent's last assignments.
        """
        crash_point("gateway.before-welcome")
        yield self._welcome
        await self._as_far_as_the_agent()
        complete = True
        while True:
            self._woken.clear()
            if self._error is not None:
                raise self._error
            if self._ended:
                return
            if self._draining:
                yield Drain(self._draining)
                return
            node = self._node()
            if node.removed:
                # All that it runs is to stop; nobody will hear of it again.
                yield Assignments(
                    complete=True,
                    sequence=self._fold.position,
                    previous_sequence=self._told_sequence,
                    assignments=(),
                )
                raise removed(node.id, node.name)
            self._check_trust_and_epoch(node)
            if self._ack_again or node.last_report > self._acked_number:
                self._ack_again = False
                self._acked_number = node.last_report
                crash_point("gateway.before-acknowledgement")
                yield Ack(node.last_report)
            if self._certificate is not None:
                certificate, self._certificate = self._certificate, None
                yield certificate
            if self._beat_heard > self._beat_answered:
                self._beat_answered = self._beat_heard
                yield HeartbeatAnswer(self._beat_heard)
            while self._errands:
                yield self._errands.pop(0)
            try:
                message = await self._next_assignments(complete=complete)
            except UnavailableError as error:
                _log.warning("assignments wait", node=self.node_id, error=error.message)
                await self._wait(_RETRY_S)
                continue
            if message is not None:
                crash_point("gateway.before-assignments")
                yield message
                crash_point("gateway.after-assignments")
                complete = False
            await self._wait(self._trusted_for_s())

    async def _as_far_as_the_agent(self) -> None:
        try:
            async with asyncio.timeout(self._ports.fold_timeout_s):
                await self._fold.reached(self._hello.last_sequence)
        except TimeoutError:
            raise UnavailableError(
                f"this gateway has read the log up to {self._fold.position} only, the agent knows "
                f"it up to {self._hello.last_sequence}",
                reason="GATEWAY_BEHIND",
                retry_after_ms=_RETRY_HINT_MS,
            ) from None

    def _trusted_for_s(self) -> float:
        """Return how long the agent's certificate lasts, infinity for one that shows none."""
        if self._trusted_until_us is None:
            return math.inf
        return (self._trusted_until_us - self._ports.clock.now_us()) / _US_PER_S

    async def _wait(self, limit_s: float) -> None:
        """Wait until there is news, no longer than so."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s if math.isfinite(limit_s) else None):
                await self._woken.wait()

    def _check_trust_and_epoch(self, node: NodeFact) -> None:
        if self._trusted_for_s() <= 0:
            raise certificate_ended(self.node_id)
        if not self.is_current:
            raise AbortedError("the node shook hands again", reason="SUPERSEDED")
        if self._fold.fleet.offline_since_us(node) is not None:
            raise AbortedError(
                "the node was declared offline; shake hands again", reason="DECLARED_OFFLINE"
            )

    async def _next_assignments(self, *, complete: bool) -> Assignments | None:
        sequence = self._fold.position
        tasks = tasks_of(self._fold.fleet, self.node_id)
        changed = tuple(tasks.values()) if complete else changed_tasks(self._told, tasks)
        if not changed and not complete:
            return None
        message = Assignments(complete, sequence, self._told_sequence, await self._in_full(changed))
        self._told = tasks
        self._told_sequence = sequence
        return message

    async def _in_full(self, tasks: Sequence[Task]) -> tuple[Assignment, ...]:
        """Add to tasks what it takes to carry them out."""
        facts = self._fold.fleet.facts
        placements = self._fold.fleet.decisions.placements
        drafts = []
        for task in tasks:
            deployment = facts.deployments.get(task.deployment_id)
            # A replica is what it was placed as, whatever its deployment became since.
            number = placements[task.replica_id].revision if task.replica_id in placements else 1
            drafts.append((task, deployment.revision_of(number) if deployment else None))
        keys = {
            revision.env_key
            for task, revision in drafts
            if revision is not None and revision.env_key and task.wanted is Wanted.RUN
        }
        environments = await self._ports.environments.unseal(keys) if keys else {}
        crash_point("gateway.after-unsealing")
        found = []
        for task, revision in drafts:
            observed = facts.observed.get((task.replica_id, self.node_id))
            restart_count = observed.restart_count + 1 if observed is not None else 0
            if revision is None or task.wanted is not Wanted.RUN:
                # What is no longer known runs on where it runs; left out, it would be stopped.
                found.append(
                    Assignment(
                        task.replica_id,
                        task.deployment_id,
                        task.wanted,
                        env_missing=task.wanted is Wanted.RUN,
                        restart_count=restart_count,
                        stop_within_ms=task.stop_within_ms,
                    )
                )
                continue
            env_missing = bool(revision.env_key) and revision.env_key not in environments
            if env_missing:
                _log.error(
                    "the environment of a deployment is lost, nothing of it can be started",
                    deployment=task.deployment_id,
                    replica=task.replica_id,
                )
            found.append(
                Assignment(
                    task.replica_id,
                    task.deployment_id,
                    task.wanted,
                    revision.spec.name,
                    revision.spec.container_image,
                    placements[task.replica_id].resources,
                    environments.get(revision.env_key, {}),
                    revision.spec.restart,
                    task.starts_after,
                    env_missing,
                    restart_count,
                    task.stop_on_client_after_ms,
                    task.gpu_devices,
                    revision.spec.container,
                )
            )
        return tuple(found)

    # --- from the agent -----------------------------------------------------------------------

    async def receive(self, message: FromAgent) -> None:
        """Take in what the agent said: pass a sign of life on, leave the rest to `write`.

        Raises:
            InvalidArgumentError: the message makes no sense.
        """
        match message:
            case Heartbeat():
                await self._beat(message)
            case Report():
                await self._unwritten.put(message)
            case CapacityChange():
                check_fingerprint(message.fingerprint, "capacity_change.fingerprint")
                check_details(message.details, "capacity_change.fingerprint.details")
                await self._unwritten.put(message)

    async def write(self) -> NoReturn:
        """Write down what `receive` took in, in order.

        It may wait for the log without end, and signs of life must not wait behind it: a gateway
        that can't write would lose all its nodes as silent.

        Raises:
            AbortedError: a report of another epoch, or one that skips a number.
        """
        while True:
            match await self._unwritten.get():
                case Report() as report:
                    await self._report(report)
                case CapacityChange() as change:
                    if not self._knows(change):
                        await self._append(
                            agent_events.capacity_changed(
                                self.node_id,
                                self._welcome.epoch,
                                change,
                                str(uuid4()),
                                self._ports.clock.now_us(),
                            )
                        )
                case _LoadMoved() as moved:
                    await self._log_load(moved)

    def _knows(self, change: CapacityChange) -> bool:
        known = self._node().fingerprint, self._fold.fleet.facts.details_of(self.node_id)
        return (change.fingerprint, change.details) == known

    async def _beat(self, beat: Heartbeat) -> None:
        if not (math.isfinite(beat.cpu_percent) and math.isfinite(beat.memory_percent)):
            raise InvalidArgumentError.of_field("heartbeat.usage", "must be numbers")
        now_us = self._ports.clock.now_us()
        crash_point("gateway.before-telemetry")
        await self._ports.telemetry.publish(
            Heard(
                self.node_id,
                self._welcome.epoch,
                now_us,
                beat.cpu_percent,
                beat.memory_percent,
                beat.number,
            )
        )
        step = next_load(self._load, beat.cpu_percent, beat.memory_percent, now_us)
        if step is not None and not self._load_waits and not self._unwritten.full():
            self._load_waits = True
            reflects = max(0, min(beat.reflects_sequence, self._told_sequence))
            self._unwritten.put_nowait(_LoadMoved(step, reflects))

    async def _log_load(self, moved: _LoadMoved) -> None:
        envelope = agent_events.load_changed(
            self.node_id, self._welcome.epoch, moved.load, moved.reflects_sequence, str(uuid4())
        )
        try:
            await self._ports.appender.append([envelope])
        except FogError as error:
            # The next heartbeat comes soon, and the load that counts then is that one's.
            _log.debug("load not logged", node=self.node_id, error=error.message)
        else:
            self._load = moved.load
        finally:
            self._load_waits = False

    async def _report(self, report: Report) -> None:
        if report.epoch != self._welcome.epoch:
            raise AbortedError(
                f"a report of epoch {report.epoch}, this stream's is {self._welcome.epoch}",
                reason="OLD_EPOCH",
            )
        if report.number <= self._node().last_report:
            self._ack_again = True
            self._woken.set()
            return
        if report.number < self._next_report:
            return  # on its way into the log already
        if report.number > self._next_report:
            raise AbortedError(
                f"report {report.number} came where {self._next_report} was to come",
                reason="REPORT_GAP",
            )
        self._next_report += 1
        crash_point("gateway.before-report-append")
        now_us = self._ports.clock.now_us()
        await self._append(agent_events.reported(self.node_id, report, self._fold.fleet, now_us))
        crash_point("gateway.after-report-append")

    async def _append(self, envelope: EventEnvelope) -> None:
        """Append until the log has it: what a node says once must not be lost to an outage."""
        while True:
            try:
                await self._ports.appender.append([envelope])
                return
            except (UnavailableError, ResourceExhaustedError) as error:
                _log.debug("report waits for the log", node=self.node_id, error=error.message)
                await asyncio.sleep((error.retry_after_ms or _RETRY_HINT_MS) / 1000)
