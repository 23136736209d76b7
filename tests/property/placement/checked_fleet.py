"""A fleet whose every step is checked by a book kept apart, and by planners that follow along."""

from __future__ import annotations

from dataclasses import dataclass, field

from fogbank.domain import events as ev
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusTracker, derive_status, replica_views
from fogbank.placement import Planner
from tests.property.placement.book import Book, Piece
from tests.property.placement.rollout_bounds import check_rollouts, rollout_standing
from tests.support.fleet_log import LittleLog


@dataclass
class CheckedFleet:
    """`planner` decides; `standby` only follows; `inputs` is what each round was decided on."""

    log: LittleLog = field(default_factory=LittleLog)
    planner: Planner = field(default_factory=Planner)
    standby: Planner = field(default_factory=Planner)
    tracker: StatusTracker = field(default_factory=StatusTracker)
    now: Book = field(default_factory=Book)
    inputs: Book = field(default_factory=Book)
    pending: list[Commit] = field(default_factory=list)

    def take(self, commit: Commit) -> None:
        """Let everybody take a commit in, and check what it led to."""
        before = rollout_standing(self.planner.fleet) if commit.service == SCHEDULER else {}
        folded = self.planner.fold(commit)
        assert self.standby.fold(commit).verdicts == folded.verdicts
        self.tracker.update(self.planner.fleet, folded)
        if commit.service != SCHEDULER:
            self.now.take_facts(commit)
            self.pending.append(commit)
        else:
            counts = self.now.counts(commit)
            assert folded.verdicts[0].accepted is counts
            if counts:
                self._check_round(commit)
                check_rollouts(self.planner.fleet, commit, before)
                self.now.take_round(commit)
        self._check_sums()

    def _check_round(self, commit: Commit) -> None:
        event = commit.envelopes[0].event
        assert isinstance(event, ev.RoundDecided)
        late = [fact for fact in self.pending if fact.sequence > event.facts_to]
        for fact in self.pending:
            if fact.sequence <= event.facts_to:
                self.inputs.take_facts(fact)
        self.pending = late
        book = self.inputs
        open_nodes = {node for node, host in book.hosts.items() if host.open}
        before = book.promised()
        book.take_round(commit)
        placed_on = set()
        for outcome in event.outcomes:
            if isinstance(outcome, ev.DeploymentPlaced):
                placed_on |= {placement.node_id for placement in outcome.placements}
                _check_considered(outcome.considered)
            elif isinstance(outcome, (ev.DeploymentDeferred, ev.DeploymentFailed)):
                _check_considered(outcome.considered)
                assert outcome.reason
        assert placed_on <= open_nodes, "placed on a node that is closed"
        for node, promised in book.promised().items():
            fits = all(
                taken <= room for taken, room in zip(promised, book.hosts[node].room, strict=True)
            )
            no_more = all(
                after <= known for after, known in zip(promised, before[node], strict=True)
            )
            assert fits or (no_more and node not in placed_on), "more promised than there is"
        assert all(len(found) <= 1 for found in book.live().values()), "two in one slot"
        _check_apart(book)

    def _check_sums(self) -> None:
        """The planner's rows and the book's sums are the same, and every status has a reason."""
        arrays = self.planner.arrays
        promised = self.now.promised()
        for row, node_id in enumerate(arrays.ids):
            assert list(arrays.booked[:, row]) == promised[node_id]
            assert bool(arrays.open[row]) is self.now.hosts[node_id].open
        state = self.planner.fleet
        for deployment in state.facts.deployments.values():
            replica_views(state, deployment)
            before = self.tracker.current[deployment.id]
            status, reason = derive_status(state, deployment, before)
            assert status is before
            assert reason

    def decide(
        self, *observations: ev.NodeSilence, limit: int = 384, late: Commit | None = None
    ) -> bool:
        """Decide and append one round, and check that everybody would have decided the same."""
        now_us = self.log.now_us
        decided = self.planner.decide(now_us, observations, limit)
        for other in (self.standby, self._from_the_log()):
            again = other.decide(now_us, observations, limit)
            assert (again and again.event) == (decided and decided.event)
        if decided is None:
            if late is not None:
                self.take(late)
            return False
        assert not decided.errors
        self.log_round(decided.event, late)
        return True

    def log_round(self, event: ev.RoundDecided, late: Commit | None = None) -> None:
        if late is not None:
            self.take(late)
        self.take(self.log.round(event))

    def _from_the_log(self) -> Planner:
        state = FleetState()
        for commit in self.log.commits[: self.planner.fleet.position]:
            state.fold(commit)
        return Planner(state)

    def settle(self, limit: int = 384) -> None:
        """Decide until nothing is left; it ends, and then nobody spins and nobody is lost."""
        rounds = 0
        while self.decide(limit=limit):
            rounds += 1
            assert rounds < 200, "rounds without end"
        agenda, now_us = self.planner.agenda, self.log.now_us
        assert not self.planner.has_work(now_us)
        look_us = self.planner.next_look_us()
        assert look_us is None or look_us > now_us
        assert not agenda.active
        waiting = agenda.timed.keys() | agenda.parked.keys()
        assert self.now.short_of_replicas() <= waiting, "forgotten"
        self._check_preempted()

    def _check_preempted(self) -> None:
        """Whose replica was evicted has another one, or says who took its room."""
        state, live = self.planner.fleet, self.now.live()
        for (deployment_id, slot), by in self.now.preempted.items():
            ask = self.now.asks[deployment_id]
            if ask.deleted or ask.failed == ask.version or slot >= ask.replicas:
                continue
            if not live.get((deployment_id, slot)):
                status = self.tracker.current[deployment_id]
                assert status in {DeploymentStatus.PENDING, DeploymentStatus.DEGRADED}
                takers = state.decisions.of(deployment_id).preempted
                assert takers[slot] == by
                deployment = state.facts.deployments[deployment_id]
                reason = derive_status(state, deployment, status)[1]
                assert reason == f"Preempted by {takers[min(takers)]}"


def _check_considered(considered: ev.Considered) -> None:
    refused = sum(count for _, count in considered.refusals)
    assert refused + considered.feasible == considered.nodes


def _check_apart(book: Book) -> None:
    """No two replicas of a deployment share a node, but for one that leaves and its successor."""
    together: dict[tuple[str, str], list[Piece]] = {}
    for replica_id, piece in book.pieces.items():
        if piece.wanted != "released" and not book.has_ended(replica_id):
            together.setdefault((piece.deployment, piece.node), []).append(piece)
    for pieces in together.values():
        slots, wanted = {piece.slot for piece in pieces}, [piece.wanted for piece in pieces]
        relieved = len(slots) == 1 and wanted.count("leaving") == 1
        assert len(pieces) <= 1 + relieved, "two replicas of a deployment on one node"
