"""Rounds: what to decide next, from the state of the log and nothing else.

`Planner` holds a fleet's state with the indexes that make deciding fast. Everything it decides
is a function of the folded log, the instant, the observations and the limit: a planner that
folded the same commits decides the same round.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState, Folded
from fogbank.domain.ids import policy_digest
from fogbank.placement.agenda import Agenda
from fogbank.placement.arrays import FleetArrays
from fogbank.placement.looks import Room, Shortage, answer_shortage, place
from fogbank.placement.movements import (
    lost_after_us,
    lost_nodes,
    settle,
    silent_nodes,
    suspensions,
)
from fogbank.placement.needs import need_of, wait_of
from fogbank.placement.queue import job_weight, queue_key
from fogbank.placement.version import ENGINE

DEFAULT_LIMIT = 384


@dataclass(frozen=True, slots=True)
class Decided:
    """A round to append, and the errors that deciding single deployments raised."""

    event: ev.RoundDecided
    errors: tuple[tuple[str, Exception], ...] = ()


@dataclass(slots=True)
class _Work:
    """A round in the making."""

    instant_us: int
    room: Room
    outcomes: list[ev.Outcome] = field(default_factory=list)
    errors: list[tuple[str, Exception]] = field(default_factory=list)
    looked_in_vain: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)


class Planner:
    """A fleet's state and the decisions that follow from it."""

    def __init__(self, fleet: FleetState | None = None) -> None:
        """Begin with a state; its nodes and deployments are indexed."""
        self.fleet = fleet or FleetState()
        self.arrays = FleetArrays()
        self.agenda = Agenda()
        self.arrays.refresh(self.fleet, self.fleet.facts.nodes)
        self.agenda.refresh(self.fleet, self.fleet.facts.deployments)
        self._proposed: tuple[ev.RoundDecided, set[str]] | None = None

    def fold(self, commit: Commit) -> Folded:
        """Take in the next commit of the log."""
        folded = self.fleet.fold(commit)
        known = [node_id for node_id in folded.nodes if node_id in self.fleet.facts.nodes]
        self.arrays.refresh(self.fleet, known)
        self.agenda.refresh(self.fleet, folded.deployments)
        if folded.verdicts[0].accepted and commit.envelopes:
            event = commit.envelopes[0].event
            if isinstance(event, ev.RoundDecided):
                self._settle_proposal(event)
        return folded

    def _settle_proposal(self, accepted: ev.RoundDecided) -> None:
        """Keep what was learnt while proposing a round only if that very round counts."""
        if self._proposed is not None and self._proposed[0] == accepted:
            self.agenda.looked_in_vain(self._proposed[1], self.fleet.room_sequence)
        else:
            self.agenda.forget_looks()
        self._proposed = None

    def decide(
        self,
        instant_us: int,
        observations: tuple[ev.NodeSilence, ...] = (),
        limit: int = DEFAULT_LIMIT,
    ) -> Decided | None:
        """Decide a round; None if there is nothing to write down.

        `instant_us` is raised to the last round's where a clock fell behind; once `limit`
        replicas were decided on, the rest is left to the next round.
        """
        instant_us = max(instant_us, self.fleet.decisions.instant_us)
        work = _Work(instant_us, Room.of(self.arrays))
        work.outcomes += silent_nodes(self.fleet, observations)
        self._move(work)
        self._look(work, limit)
        if not work.outcomes:
            self.agenda.looked_in_vain(work.looked_in_vain, self.fleet.room_sequence)
            return None
        policy = self.fleet.facts.policy
        event = ev.RoundDecided(
            prev_digest=self.fleet.decisions.prev_digest,
            facts_to=self.fleet.position,
            instant_us=instant_us,
            policy=policy.title,
            policy_digest=policy_digest(policy),
            engine=ENGINE,
            limit=limit,
            observations=observations,
            outcomes=tuple(work.outcomes),
            raised=tuple(deployment_id for deployment_id, _ in work.errors),
        )
        self._proposed = (event, work.looked_in_vain)
        return Decided(event, tuple(work.errors))

    def has_work(self, instant_us: int) -> bool:
        """Tell whether `decide` may find something to write down, without observations."""
        agenda, room_sequence = self.agenda, self.fleet.room_sequence
        return bool(
            agenda.settling
            or agenda.to_look_at(instant_us, room_sequence)
            or any(suspensions(self.fleet, node) for node in lost_nodes(self.fleet, instant_us))
        )

    def next_look_us(self) -> int | None:
        """Return the next instant at which time alone gives something to decide."""
        instants = [at_us for at_us in (self.agenda.next_timed_us(),) if at_us is not None]
        after_us = lost_after_us(self.fleet)
        for node_id in self.fleet.decisions.offline:
            node = self.fleet.facts.nodes.get(node_id)
            since_us = None if node is None else self.fleet.offline_since_us(node)
            if node is not None and since_us is not None and suspensions(self.fleet, node):
                instants.append(since_us + after_us)
        return min(instants, default=None)

    def _move(self, work: _Work) -> None:
        for node in lost_nodes(self.fleet, work.instant_us):
            for outcome in suspensions(self.fleet, node):
                work.outcomes.append(outcome)
                work.moved.add(outcome.deployment_id)
        for deployment_id in self.agenda.to_settle():
            if deployment_id in work.moved:
                continue
            deployment = self.fleet.facts.deployments[deployment_id]
            need = need_of(self.fleet, deployment)
            outcomes = settle(self.fleet, self.arrays, deployment, need)
            if outcomes:
                work.outcomes += outcomes
                work.moved.add(deployment_id)

    def _look(self, work: _Work, limit: int) -> None:
        budget = limit
        for deployment in self._queue(work):
            slots = self._vacant_now(deployment, work.instant_us)
            before = len(work.outcomes)
            try:
                self._look_at(work, deployment, slots)
            except Exception as error:  # noqa: BLE001  one bad deployment must not stop the others
                work.errors.append((deployment.id, error))
                reason = f"Scheduling failed: {type(error).__name__}"
                self._answer(work, deployment, Shortage(reason, 0, ev.Considered()))
            # A look in vain costs nothing here: whether it is made or saved must not show.
            budget -= len(slots) if len(work.outcomes) > before else 0
            if budget <= 0:
                break

    def _queue(self, work: _Work) -> list[DeploymentFact]:
        waiting = [
            self.fleet.facts.deployments[deployment_id]
            for deployment_id in self.agenda.to_look_at(work.instant_us, self.fleet.room_sequence)
            if deployment_id not in work.moved
        ]
        totals = self.arrays.allocatable.sum(axis=1)
        return sorted(
            waiting,
            key=lambda deployment: queue_key(
                job_weight(totals, deployment), deployment, work.instant_us
            ),
        )

    def _vacant_now(self, deployment: DeploymentFact, instant_us: int) -> tuple[int, ...]:
        need = need_of(self.fleet, deployment)
        return tuple(slot for slot, at_us in need.vacant if at_us <= instant_us)

    def _look_at(self, work: _Work, deployment: DeploymentFact, slots: tuple[int, ...]) -> None:
        if not slots:
            return
        found = place(self.fleet, work.room, deployment, slots)
        if isinstance(found, ev.DeploymentPlaced):
            work.outcomes.append(found)
        else:
            self._answer(work, deployment, found)

    def _answer(self, work: _Work, deployment: DeploymentFact, shortage: Shortage) -> None:
        decision = self.fleet.decisions.deployments.get(deployment.id)
        wait = wait_of(decision, deployment)
        outcome = answer_shortage(self.fleet, deployment, shortage, wait, work.instant_us)
        if outcome is None:
            work.looked_in_vain.add(deployment.id)
        else:
            work.outcomes.append(outcome)
