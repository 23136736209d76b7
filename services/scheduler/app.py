"""What a scheduler does: follow the log, notice what is to be decided, decide, append.

One task folds, one decides. The next round waits for what the fold says of the one before.
"""

from __future__ import annotations

import asyncio

import structlog

from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.envelope import Commit, EventEnvelope
from fogbank.domain.errors import FogError, NotFoundError, UnavailableError
from fogbank.domain.explanations import DeploymentExplanation, DeploymentPlan
from fogbank.domain.fleet import StateDiffersError
from fogbank.domain.folded import Folded
from fogbank.domain.ids import round_event_id
from fogbank.domain.rebalancing import RebalancePlan, RebalanceTerms
from fogbank.domain.snapshots import SnapshotRefusedError, require_confirmed
from fogbank.domain.state_reading import IF_STATES_DIFFER
from fogbank.domain.verdict import VoidReason
from fogbank.domain.views import AsOf
from fogbank.log.clock_check import ClockCheck
from fogbank.log.follower import OwnCommit, follow_commits
from fogbank.log.port import CommitTooLargeError, EventLog
from fogbank.log.snapshots import SnapshotSource, ignored, state_to_begin_with
from fogbank.placement import ENGINE, Decided, Planner
from fogbank.placement.engine import DEFAULT_LIMIT
from fogbank.placement.explanation import explain, plan
from fogbank.placement.rebalance import planned_so_far
from fogbank.runtime.clock import Clock
from fogbank.runtime.crash_points import crash_point
from fogbank.runtime.garbage import keep_what_was_folded
from fogbank.runtime.turns import Spaced, last_in_turns
from services.scheduler.core.leadership import Leadership
from services.scheduler.core.liveness import Liveness
from services.scheduler.core.status import RoundMeter, SchedulerStatus

_log = structlog.get_logger("scheduler")

_MICROS = 1_000_000
_OUTCOME_WAIT_S = 2.0
_CATCH_UP_S = 5.0
_RETRY_S = 0.5
_NO_WORK_S = 3600.0
# Rounds that place more tell it in one line: telling of each takes half as long as deciding it,
# and under load, when time is short, rounds place ten or more.
_PLACEMENTS_TOLD = 4
# Plans and explanations, many nodes and replicas of which take long, may take so much of the time.
_TELLING_SHARE = 1 / 3


class Scheduler:
    """One scheduler. Its loops are `follow` and `decide`.

    `heard` takes signs of life, `listens` that some would arrive if there were any.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        meter: RoundMeter,
        *,
        takeover_us: int | None = None,
        longest_pause_s: float = _NO_WORK_S,
        snapshots: SnapshotSource | None = None,
    ) -> None:
        """Begin at the start of the log, or with `snapshots` at the newest of them."""
        self._snapshots = snapshots
        # The sequence of the snapshot that this scheduler stands on; 0 for the whole log.
        self.begun_at = 0
        self._longest_pause_us = longest_pause_s * _MICROS
        self.planner = Planner()
        self.liveness = Liveness()
        instance = log.writer.instance
        self.leadership = (
            Leadership(instance) if takeover_us is None else Leadership(instance, takeover_us)
        )
        self.caught_up = asyncio.Event()
        # Set where the fold leads to another state than a round was decided on: then it stops.
        self.differs = asyncio.Event()
        self._log = log
        self._clock = clock
        self._clock_check = ClockCheck(log, clock)
        self._telling = Spaced(_TELLING_SHARE, clock.monotonic_s)
        self._meter = meter
        self._own = OwnCommit()
        self._changed = asyncio.Event()
        self._folded = asyncio.Event()
        # How much the next round may decide: less while one is too large for a commit.
        self._limit = DEFAULT_LIMIT
        self._accepted = 0
        self._void = 0
        self._last_void: VoidReason | None = None

    # Taking in.

    async def follow(self) -> None:
        """Fold the log for ever; stand still, and say why, where a round differs from the fold."""
        try:
            await self._follow()
        except StateDiffersError as error:
            self.differs.set()
            _log.critical(
                "This scheduler stands still: states differ", error=f"{error}{IF_STATES_DIFFER}"
            )
            await asyncio.Event().wait()

    async def _begin(self) -> None:
        """Begin with the newest snapshot, if there is one that verifies; else with nothing."""
        if self._snapshots is None:
            return
        found = await state_to_begin_with(self._snapshots, self._log, ENGINE)
        if found is not None:
            fleet, last_round = found
            self.planner = Planner(fleet)
            self.begun_at = fleet.position
            self.leadership.round_counted(last_round.writer.instance)

    async def _follow(self) -> None:
        crash_point("scheduler.before-catch-up")
        await self._begin()
        try:
            await self._follow_from(self.begun_at)
        except (StateDiffersError, SnapshotRefusedError) as error:
            if not self.begun_at or self.caught_up.is_set():
                raise
            ignored(self.begun_at, error)
            self.planner = Planner()
            self.begun_at = 0
            await self._follow_from(0)

    async def _follow_from(self, after: int) -> None:
        target = await self._last_sequence()
        if target <= after:
            self._start_deciding()
        async for commits in follow_commits(self._log, after, self._own):
            crash_point("scheduler.before-fold")
            for commit in commits:
                self._fold(commit)
            crash_point("scheduler.after-fold")
            if not self.caught_up.is_set() and self.planner.fleet.position >= target:
                self._start_deciding()
            self._changed.set()
            # Whoever waits for a sequence looks again; the next batch has an event of its own.
            self._folded.set()
            self._folded = asyncio.Event()

    async def _last_sequence(self) -> int:
        while True:
            try:
                return await self._log.last_sequence()
            except UnavailableError as error:
                _log.warning("the log does not answer", error=error.message)
                await asyncio.sleep(_RETRY_S)

    def _start_deciding(self) -> None:
        if self.begun_at:
            require_confirmed(self.planner.fleet)
        crash_point("scheduler.after-catch-up")
        self.liveness.restart(self.planner.fleet, self._monotonic_us())
        self.caught_up.set()
        _log.info("Scheduler worker started", as_of_sequence=self.planner.fleet.position)

    def _fold(self, commit: Commit) -> None:
        folded = self.planner.fold(commit)
        event = commit.envelopes[0].event
        if isinstance(event, ev.RoundDecided):
            self._note_round(commit, event, folded)
            return
        now_us = self._monotonic_us()
        for envelope, verdict in zip(commit.envelopes, folded.verdicts, strict=True):
            if isinstance(envelope.event, ev.NodeConnected) and verdict.accepted:
                self.liveness.heard(envelope.event.node_id, verdict.position, now_us)

    def _note_round(self, commit: Commit, event: ev.RoundDecided, folded: Folded) -> None:
        accepted = folded.verdicts[0].accepted
        if accepted:
            if self.leadership.leader != commit.instance and self.caught_up.is_set():
                _log.info("leading scheduler", leader=commit.instance)
            self.leadership.round_counted(commit.instance)
        if commit.instance != self._log.writer.instance or not self.caught_up.is_set():
            return
        self._meter.verdict(accepted=accepted)
        self._last_void = folded.verdicts[0].reason
        if accepted:
            self._accepted += 1
            self._log_outcomes(event.outcomes)
        else:
            self._void += 1
            _log.info("round void", sequence=commit.sequence, reason=folded.verdicts[0].reason)

    def _log_outcomes(self, outcomes: tuple[ev.Outcome, ...]) -> None:
        """Say what a round decided: of many placements how many, for the log of record has each."""
        placed = [one for one in outcomes if isinstance(one, ev.DeploymentPlaced)]
        many = len(placed) > _PLACEMENTS_TOLD
        if many:
            replicas = sum(len(one.placements) for one in placed)
            _log.info(f"Successfully scheduled {len(placed)} deployments", replicas=replicas)
        for outcome in outcomes:
            if not (many and isinstance(outcome, ev.DeploymentPlaced)):
                self._log_outcome(outcome)

    def _log_outcome(self, outcome: ev.Outcome) -> None:
        match outcome:
            case ev.DeploymentPlaced():
                deployment_id = outcome.deployment_id
                names = [
                    self.planner.fleet.facts.nodes[placement.node_id].name
                    for placement in outcome.placements
                ]
                _log.info(f"Found {outcome.considered.feasible} nodes with capacity")
                _log.info(f"Selected {len(names)} nodes for deployment: [{', '.join(names)}]")
                _log.info(f"Successfully scheduled deployment {deployment_id}")
            case ev.DeploymentFailed():
                _log.error(
                    f"Scheduling failed for deployment {outcome.deployment_id}: {outcome.reason}"
                )
            case ev.DeploymentDeferred():
                _log.info(
                    f"Deployment {outcome.deployment_id} waits: {outcome.reason}",
                    attempt=outcome.attempt,
                )
            case ev.DeploymentRolledBack():
                _log.warning(
                    f"Deployment {outcome.deployment_id} goes back: {outcome.reason}",
                    revision=outcome.to_revision,
                )
            case ev.NodeOffline():
                _log.warning("node offline", node_id=outcome.node_id)
            case ev.RebalanceEnded():
                _log.info("rebalance ended", request=outcome.request, reason=outcome.reason)
            case _:
                _log.info(
                    type(outcome).__name__,
                    deployment_id=outcome.deployment_id,
                    replica_ids=list(outcome.replica_ids),
                )

    def heard(self, node_id: str, epoch: int) -> None:
        """Take in a sign of life of a node."""
        self.listens()
        self.liveness.heard(node_id, epoch, self._monotonic_us())

    def listens(self) -> None:
        """Take in that what others say arrives here."""
        was_deaf = self.liveness.listens(self.planner.fleet, self._monotonic_us())
        if was_deaf and self.caught_up.is_set():
            _log.warning("nothing was heard for too long: every node's time begins anew")
            self._changed.set()

    # Deciding.

    async def decide(self) -> None:
        """Decide rounds for ever."""
        await self.caught_up.wait()
        while not self.differs.is_set():
            self._changed.clear()
            wait_s = await self._one_round()
            keep_what_was_folded()
            self._meter.queues(self.planner.agenda.pending)
            if wait_s > 0:
                await self._wait_for_change(wait_s)
        await asyncio.Event().wait()

    async def _wait_for_change(self, at_most_s: float) -> None:
        try:
            async with asyncio.timeout(at_most_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _one_round(self) -> float:
        """Decide what there is to decide; return the seconds to wait before the next look."""
        now_us, wall_us = self._monotonic_us(), self._clock.now_us()
        if not self._work(now_us, wall_us):
            self.leadership.nothing_to_do()
            return self._until_next_us(now_us) / _MICROS
        at_us = self.leadership.may_decide_at_us(now_us)
        if at_us > now_us:
            return (at_us - now_us) / _MICROS
        crash_point("scheduler.before-decision")
        began_us = self._monotonic_us()
        decided = self._decide(now_us, wall_us)
        crash_point("scheduler.after-decision")
        if decided is None:
            self.leadership.nothing_to_do()
            return self._until_next_us(now_us, looked_us=wall_us) / _MICROS
        self._meter.decided(decided.event.outcomes, (self._monotonic_us() - began_us) / _MICROS)
        return await self._append(decided)

    def _work(self, now_us: int, wall_us: int) -> bool:
        """Tell whether a round may have something to write down."""
        return bool(self.planner.has_work(wall_us) or self._silences(now_us, wall_us))

    def _silences(self, now_us: int, wall_us: int) -> tuple[ev.NodeSilence, ...]:
        return self.liveness.silences(self.planner.fleet, now_us, wall_us - now_us)

    def _until_next_us(self, now_us: int, looked_us: int = 0) -> float:
        """Return the time until there may be something to decide, unless a fact comes before.

        What was due at `looked_us`, when nothing was found to decide, waits for a fact; it is only
        looked at again now and then, so that no slip in what is due makes this scheduler spin.
        """
        wall_us = self._clock.now_us()
        instants = [self._longest_pause_us]
        if (look_us := self.planner.next_look_us()) is not None:
            overdue = look_us <= looked_us
            instants.append(_RETRY_S * _MICROS if overdue else look_us - wall_us)
        if (silence_us := self.liveness.next_silence_us(self.planner.fleet, now_us)) is not None:
            instants.append(silence_us - now_us)
        # Never 0: what comes due meanwhile is looked at in a moment.
        return max(min(instants), 1_000)

    def _decide(self, now_us: int, wall_us: int) -> Decided | None:
        decided = self.planner.decide(wall_us, self._silences(now_us, wall_us), self._limit)
        if decided is not None:
            for deployment_id, error in decided.errors:
                _log.error(
                    f"Scheduling failed for deployment {deployment_id}: {error!r}", exc_info=error
                )
        return decided

    async def _append(self, decided: Decided) -> float:
        """Append a round and wait until it is folded; return the seconds to wait then."""
        try:
            await self._clock_check.require()
            crash_point("scheduler.before-round-append")
            sequence = await self._log.append(self._commit_bytes(decided))
        except CommitTooLargeError as error:
            self._limit = max(decided.event.limit // 2, 1)
            _log.warning("a round of fewer outcomes is decided", error=error.message)
            return 0.0 if self._limit < decided.event.limit else _RETRY_S
        except FogError as error:
            # Whether it is in the log or not: the next round is decided on what the fold says.
            _log.warning("round not confirmed", error=error.message)
            return _RETRY_S
        self._limit = min(2 * self._limit, DEFAULT_LIMIT)
        crash_point("scheduler.after-round-append")
        try:
            async with asyncio.timeout(_OUTCOME_WAIT_S):
                while self.planner.fleet.position < sequence:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            _log.warning("appended round not seen yet", sequence=sequence)
        crash_point("scheduler.after-round-fold")
        if self._last_void not in {None, VoidReason.STALE_ROUND}:
            # Not for a rival's round: deciding again at once would write void rounds for ever.
            await asyncio.sleep(_RETRY_S)
        return 0.0

    def _commit_bytes(self, decided: Decided) -> bytes:
        event, now_us, instance = decided.event, self._clock.now_us(), self._log.writer.instance
        envelope = EventEnvelope(
            round_event_id(event.prev_digest, instance, event.instant_us),
            event,
            aggregate="fleet",
            actor=f"scheduler/{instance}",
            occurred_at_us=now_us,
            causes=decided.causes,
        )
        return self._own.encode(now_us, envelope)

    def _monotonic_us(self) -> int:
        return round(self._clock.monotonic_s() * _MICROS)

    # Telling.

    def status(self) -> SchedulerStatus:
        """Say what this scheduler is doing."""
        fleet = self.planner.fleet
        return SchedulerStatus(
            self._log.writer.instance,
            self.leadership.leader,
            fleet.position,
            self.planner.agenda.pending,
            fleet.decisions.placed_total,
            fleet.decisions.failed_total,
            self._accepted,
            self._void,
            fleet.facts.policy.title,
            self.liveness.heard_in_time(fleet, self._monotonic_us()),
        )

    async def plan(self, spec: DeploymentSpec, min_sequence: int = 0) -> AsOf[DeploymentPlan]:
        """Say what a deployment would lead to; nothing is changed.

        Raises:
            UnavailableError: `min_sequence` is not folded in time.
        """
        await self._reached(min_sequence)
        async with self._telling.turn():
            planned = plan(self.planner, spec, self._clock.now_us())
            return AsOf(planned, self.planner.fleet.position)

    async def plan_rebalance(
        self, terms: RebalanceTerms, min_sequence: int = 0
    ) -> AsOf[RebalancePlan]:
        """Say which replicas a rebalance would move, as far as the log stands still meanwhile.

        Raises:
            UnavailableError: `min_sequence` is not folded in time.
        """
        await self._reached(min_sequence)
        fleet, at = self.planner.fleet, self.planner.fleet.position
        parts = planned_so_far(fleet, self.planner.arrays, terms)
        return AsOf(await last_in_turns(parts, lambda: fleet.position == at), at)

    async def explain(
        self, deployment_id: str, min_sequence: int = 0
    ) -> AsOf[DeploymentExplanation]:
        """Say where a deployment stands and why.

        Raises:
            NotFoundError: there is no such deployment.
            UnavailableError: `min_sequence` is not folded in time.
        """
        await self._reached(min_sequence)
        async with self._telling.turn():
            fleet = self.planner.fleet
            deployment = fleet.facts.deployments.get(deployment_id)
            if deployment is None:
                raise NotFoundError.of("deployment", deployment_id)
            told = explain(self.planner, deployment, self._clock.now_us())
            return AsOf(told, fleet.position)

    async def _reached(self, sequence: int) -> None:
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                while self.planner.fleet.position < sequence:
                    await self._folded.wait()
        except TimeoutError:
            raise UnavailableError(
                f"the scheduler has read the log up to {self.planner.fleet.position}, "
                f"not yet to {sequence}; try again",
                retry_after_ms=1_000,
            ) from None
