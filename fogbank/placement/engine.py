"""Rounds: what to decide next, from the state of the log and nothing else.

`Planner` holds a fleet's state with the indexes that make deciding fast. Everything it decides
is a function of the folded log, the instant, the observations and the limit: a planner that
folded the same commits decides the same round.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.folded import Folded
from fogbank.domain.ids import policy_digest
from fogbank.domain.policy import Policy
from fogbank.domain.rollouts import as_wanted
from fogbank.placement.agenda import Agenda, Group, shape_of
from fogbank.placement.arrays import FleetArrays
from fogbank.placement.causes import causes_of
from fogbank.placement.evacuations import evacuate, evacuation_due_us
from fogbank.placement.looks import answer_shortage, fill
from fogbank.placement.movements import (
    next_loss_us,
    see_silent,
    settle_all,
    settling_due_us,
    silent_nodes,
    suspend_lost,
)
from fogbank.placement.needs import vacant_now, wait_of
from fogbank.placement.placements import MOST_NAMES
from fogbank.placement.queue import Order
from fogbank.placement.rebalance import rebalance, rebalance_due_us
from fogbank.placement.relocations import relocate, relocation_due_us
from fogbank.placement.rollouts import roll_all, rollout_due_us
from fogbank.placement.room import Room, Shortage
from fogbank.placement.version import ENGINE
from fogbank.placement.victims import VictimTable
from fogbank.placement.work import Mover, Work, move, others_named

# Replicas; with all that is said of them a round stays below the 512 KiB of a commit.
DEFAULT_LIMIT = 640

# What is decided about replicas that have a node, in this order, before anything is looked at:
# losses, settling, evacuations, relocations, rollouts, rebalance. A further mover is one more
# line here.
MOVERS: tuple[Mover, ...] = (
    Mover(suspend_lost, next_loss_us),
    Mover(settle_all, settling_due_us),
    Mover(evacuate, evacuation_due_us),
    Mover(relocate, relocation_due_us),
    Mover(roll_all, rollout_due_us),
    Mover(rebalance, rebalance_due_us),
)


class OutcomeTooLargeError(Exception):
    """No commit would have room for what was found for a deployment."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A round to append, and the errors that deciding single deployments raised.

    `causes` has for each outcome the position of what led to it, 0 for nothing in the log.
    """

    event: ev.RoundDecided
    causes: tuple[int, ...]
    errors: tuple[tuple[str, Exception], ...] = ()


@dataclass(frozen=True, slots=True)
class _Proposal:
    """A round that may come to count, and what was learnt while deciding it."""

    event: ev.RoundDecided
    looked_in_vain: set[Hashable]
    room_sequence: int


class Planner:
    """A fleet's state and the decisions that follow from it."""

    def __init__(self, fleet: FleetState | None = None) -> None:
        """Begin with a state; its nodes and deployments are indexed."""
        self.fleet = fleet or FleetState()
        self.arrays = FleetArrays()
        self.agenda = Agenda()
        self.arrays.refresh(self.fleet, self.fleet.facts.nodes)
        self.agenda.refresh(self.fleet, self.fleet.facts.deployments)
        see_silent(self.fleet, self.agenda, self.fleet.silent)
        self.victims = VictimTable()
        self._room = Room(self.arrays)
        self._policy_digest: tuple[Policy, bytes] | None = None
        self._proposed: _Proposal | None = None

    def fold(self, commit: Commit) -> Folded:
        """Take in the next commit of the log."""
        policy = self.fleet.facts.policy_position
        folded = self.fleet.fold(commit)
        event = commit.envelopes[0].event
        decided = event if isinstance(event, ev.RoundDecided) else None
        replicas_only = decided is not None and ev.NodeOffline not in map(type, decided.outcomes)
        self.arrays.refresh(self.fleet, folded.nodes, replicas_only=replicas_only)
        if self.fleet.silent or self.agenda.losing:
            see_silent(self.fleet, self.agenda, folded.nodes)
        if self.fleet.facts.policy_position == policy:
            self.agenda.refresh(self.fleet, folded.deployments)
        else:
            # How long broken replicas wait is the policy's to say.
            self.agenda.refresh(self.fleet, self.fleet.facts.deployments)
        if folded.quotas_changed:
            self.agenda.regroup(self.fleet)
        if decided is not None and folded.verdicts[0].accepted:
            self._settle_proposal(decided)
        return folded

    def _settle_proposal(self, accepted: ev.RoundDecided) -> None:
        """Keep what was learnt while proposing a round only if that very round counts."""
        proposed = self._proposed
        if proposed is not None and proposed.event == accepted:
            self.agenda.looked_in_vain(
                proposed.looked_in_vain, proposed.room_sequence, accepted.instant_us
            )
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
        replicas were decided on, the rest is left to the next round, and so are observations
        beyond `limit`.
        """
        instant_us = max(instant_us, self.fleet.decisions.instant_us)
        observations = observations[:limit]
        work = self._try(instant_us, observations, limit, {})
        while broken := dict(work.errors).keys() - work.broken.keys():
            # What raised may have taken room or evicted: the round is decided without it.
            raised = {name: error for name, error in work.errors if name in broken}
            work = self._try(instant_us, observations, limit, {**work.broken, **raised})
        if not work.outcomes:
            self.agenda.looked_in_vain(work.looked_in_vain, self.fleet.room_sequence, instant_us)
            return None
        policy = self.fleet.facts.policy
        event = ev.RoundDecided(
            prev_digest=self.fleet.decisions.prev_digest,
            facts_to=self.fleet.position,
            instant_us=instant_us,
            policy=policy.title,
            policy_digest=self._digest_of(policy),
            engine=ENGINE,
            limit=limit,
            observations=observations,
            outcomes=tuple(work.outcomes),
            # Looks in vain are not always made again, so whether they raised must not show.
            raised=tuple(known for known, _ in work.errors if known not in work.looked_in_vain),
            state_digest=self.fleet.due_digest,
        )
        self._proposed = _Proposal(event, work.looked_in_vain, self.fleet.room_sequence)
        return Decided(event, causes_of(self.fleet, event.outcomes), tuple(work.errors))

    def _try(
        self,
        instant_us: int,
        observations: tuple[ev.NodeSilence, ...],
        limit: int,
        broken: Mapping[str, Exception],
    ) -> Work:
        """Decide a round without the looks that are known to be broken."""
        self._room.begin()
        work = Work(instant_us, self._room, self.agenda, self.victims, limit, broken=broken)
        work.outcomes += silent_nodes(self.fleet, observations)
        if not work.outcomes:
            # A node that goes offline changes the ground under everything else: that is decided
            # by the next round, which stands on this one.
            move(MOVERS, self.fleet, work)
            self._look(work)
            self.arrays.put_devices_back()
        return work

    def _digest_of(self, policy: Policy) -> bytes:
        if self._policy_digest is None or self._policy_digest[0] is not policy:
            self._policy_digest = (policy, policy_digest(policy))
        return self._policy_digest[1]

    def has_work(self, instant_us: int) -> bool:
        """Tell whether `decide` may find something to write down, without observations."""
        due_us = (mover.due_us(self.fleet, self.agenda) for mover in MOVERS)
        if any(at_us is not None and at_us <= instant_us for at_us in due_us):
            return True
        return self.agenda.has_looks(instant_us, self.fleet.room_sequence)

    def next_look_us(self) -> int | None:
        """Return the next instant at which time alone gives something to decide."""
        instants = [mover.due_us(self.fleet, self.agenda) for mover in MOVERS]
        instants.append(self.agenda.next_timed_us())
        return min((at_us for at_us in instants if at_us is not None), default=None)

    def _look(self, work: Work) -> None:
        """Look at what waits, in the order of the queue, until the round is full.

        A look in vain takes nothing from the budget: whether it is made must not show. Room only
        shrinks while a round is decided, so that after one of a group all that ask for no less
        look in vain, and need not be looked at.
        """
        if work.budget <= 0:
            return
        deployments = self.fleet.facts.deployments
        order = Order(work.instant_us, self.arrays.totals, deployments)
        # Of which a mover decided about somebody: nothing was learnt of what they wait for.
        passed_over: set[Group | None] = set()
        for deployment_id, group in self.agenda.walk(
            order, self.fleet.room_sequence, work.hopeless
        ):
            if not deployment_id:
                unsettled = group is None or group.shape in work.unsettled
                if group is not None and not unsettled and group not in passed_over:
                    work.looked_in_vain.add(group)
            elif deployment_id in work.moved:
                passed_over.add(group)
            else:
                self._look_at(work, deployments[deployment_id])
                if work.budget <= 0:
                    break

    def _look_at(self, work: Work, deployment: DeploymentFact) -> None:
        slots = vacant_now(self.fleet, deployment, work.instant_us)
        if not slots:
            work.looked_in_vain.add(deployment.id)
            return
        found = work.attempt(deployment.id, self._fill, work, deployment, slots)
        if isinstance(found, Exception):
            reason = f"Scheduling failed: {type(found).__name__}"
            found = Shortage(reason, 0, ev.Considered())
        if isinstance(found, ev.DeploymentPlaced):
            work.add(found)
        elif found.unsettled:
            work.unsettled.add(shape_of(deployment))
        else:
            self._answer(work, deployment, found)

    def _fill(
        self, work: Work, deployment: DeploymentFact, slots: tuple[int, ...]
    ) -> ev.DeploymentPlaced | Shortage:
        found = fill(self.fleet, work, as_wanted(self.fleet, deployment), slots)
        if isinstance(found, ev.DeploymentPlaced) and (named := others_named(found)) > MOST_NAMES:
            # Smaller rounds would not help: a deployment is placed by one outcome.
            message = f"its outcome would name {named} other replicas, {MOST_NAMES} at most"
            raise OutcomeTooLargeError(message)
        return found

    def _answer(self, work: Work, deployment: DeploymentFact, shortage: Shortage) -> None:
        decision = self.fleet.decisions.deployments.get(deployment.id)
        wait = wait_of(decision, deployment)
        outcome = answer_shortage(self.fleet, deployment, shortage, wait, work.instant_us)
        if outcome is None:
            work.looked_in_vain.add(deployment.id)
        else:
            work.add(outcome)
