"""What another policy would have done: a span's facts once more, decided by that policy.

Two worlds begin with the state before the span. In the actual one the log is folded as it is. The
alternative one takes in the same facts and decides its own rounds, at the instants of the log's
rounds and with what these observed of silent nodes. Facts that follow from placements can't be
taken over as they are, for other placements would have led to others:

- What nodes reported is left out. Instead, replicas run as soon as they are placed, and end as soon
  as a round releases them, on nodes that are not silent then.
- A replica that ended by itself, failed, was restarted or unwell in the log while it was wanted
  does so in the alternative too, wherever it is: that is taken for the program's own doing. A
  replica is the same if it is of the same deployment, slot and generation.
- Measured loads are taken over: what they would have been nobody knows.
- Activations of policies in the span are left out: the other policy stays in force.

So it is a comparison of decisions, not a forecast of what programs and hosts would have done.
Compared with the policy that was in force, a log whose agents report at once shows no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fogbank.domain import events as ev
from fogbank.domain.comparison import DIFFERENCES_NAMED, ComparedPart, Difference
from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.envelope import GATEWAY, SCHEDULER, Commit, EventEnvelope
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import digest, report_event_id
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.policy import Policy
from fogbank.domain.position import MAX_EVENTS_PER_COMMIT
from fogbank.domain.rederived import Span
from fogbank.domain.states import Health, ReplicaState
from fogbank.placement.engine import Planner
from fogbank.placement.rederive import InputState
from fogbank.placement.tally import Tally

_WRITER = "what-if"
# States of which nobody needs to be told again: what is placed runs well at once.
_WELL = frozenset({Health.UNKNOWN, Health.HEALTHY})


class Comparison:
    """Takes in a log and lets another policy decide the rounds of a span of it."""

    def __init__(
        self,
        span: Span,
        policy: Policy,
        actual: FleetState | None = None,
        alternative: FleetState | None = None,
    ) -> None:
        """Begin before the first commit, or with two copies of the state after `begun_after`."""
        self._span = span
        self._policy = policy
        self._actual = Planner(actual or FleetState())
        self._before = alternative or FleetState()
        self._alternative: _Alternative | None = None
        self._tallies = (Tally(), Tally())
        self._sequence = span.begun_after

    def take(self, commits: Iterable[Commit]) -> ComparedPart:
        """Take in the next commits; the figures so far, and with the last one all there is."""
        for commit in commits:
            if commit.sequence < self._span.first:
                self._actual.fold(commit)
                self._before.fold(commit)
            else:
                self._take(commit)
            self._sequence = commit.sequence
        if self._sequence >= self._span.last:
            return self._end()
        return self._part()

    def _take(self, commit: Commit) -> None:
        of_actual, of_alternative = self._tallies
        if self._alternative is None:
            self._alternative = _Alternative(self._before, self._policy, of_alternative)
        self._alternative.take(commit, self._actual.fleet)
        folded = self._actual.fold(commit)
        event = commit.envelopes[0].event
        if isinstance(event, ev.RoundDecided) and folded.verdicts[0].accepted:
            of_actual.round(self._actual.fleet, event)
        log_time_us = self._actual.fleet.facts.log_time_us
        of_actual.pass_time(self._actual, log_time_us)
        of_alternative.pass_time(self._alternative.planner, log_time_us)

    def _part(self) -> ComparedPart:
        actual, alternative = self._tallies
        return ComparedPart(self._span, self._sequence, actual.counts(), alternative.counts())

    def _end(self) -> ComparedPart:
        if self._alternative is None:
            return self._part()
        there = self._alternative.planner
        of_actual, of_alternative = self._tallies
        theirs, ours = self._actual.fleet.facts.policy, there.fleet.facts.policy
        figures, theirs_there = (
            tally.figures(planner, actual=theirs, alternative=ours)
            for tally, planner in ((of_actual, self._actual), (of_alternative, there))
        )
        known = [
            each for each in there.fleet.facts.deployments.values() if self._concerned(each.id)
        ]
        differences = []
        for deployment in known:
            before = of_actual.fate(self._actual.fleet, deployment)
            after = of_alternative.fate(there.fleet, deployment)
            if before.differs(after):
                differences.append(Difference(deployment.id, deployment.spec.name, before, after))
        differences.sort(key=_weight)
        return ComparedPart(
            self._span,
            self._sequence,
            figures,
            theirs_there,
            len(known),
            len(differences),
            tuple(differences[:DIFFERENCES_NAMED]),
        )

    def _concerned(self, deployment_id: str) -> bool:
        """Tell whether a deployment stands, or was decided on in the span."""
        deployment = self._actual.fleet.facts.deployments.get(deployment_id)
        stands = deployment is not None and not deployment.deleted
        return stands or any(tally.met(deployment_id) for tally in self._tallies)


def _weight(difference: Difference) -> tuple[bool, bool, str]:
    """Put first who stands otherwise, then who was evicted otherwise."""
    before, after = difference.actual, difference.alternative
    return (before.standing == after.standing, before.evicted == after.evicted, difference.name)


class _Alternative:
    """The world in which the other policy decides.

    Its rounds and reports take the places in the log of those that are left out: an order of facts
    and rounds by their sequences is what states are made for.
    """

    def __init__(self, fleet: FleetState, policy: Policy, tally: Tally) -> None:
        fleet.facts.policy = policy
        self.planner = Planner(InputState.of(fleet))
        self._tally = tally
        self._rounds = 0
        # What nodes have to say, the replicas that were told to run or end, own ends to come.
        self._unsaid: dict[str, list[ReplicaObservation]] = {}
        self._told: set[tuple[str, bool]] = set()
        self._own_ends: dict[str, ReplicaObservation] = {}
        self._follow(self.fleet.facts.nodes)

    @property
    def fleet(self) -> FleetState:
        """Its state."""
        return self.planner.fleet

    def take(self, commit: Commit, actual: FleetState) -> None:
        """Take in a commit of the log; `actual` is what the log led to before it."""
        if commit.service == SCHEDULER:
            event = commit.envelopes[0].event
            if isinstance(event, ev.RoundDecided) and not actual.decisions.void_reason(commit):
                self._decide(commit.sequence, event.instant_us, event.observations, event.limit)
        else:
            envelopes = tuple(self._fact(each, actual) for each in commit.envelopes)
            self._fold(replace(commit, envelopes=envelopes))
            if all(each.event is None for each in envelopes):
                # Nothing of it is left: a place for a round, if there is something to decide.
                self._decide(commit.sequence, self.fleet.facts.log_time_us)
        self.fleet.position = commit.sequence

    # Facts.

    def _fact(self, envelope: EventEnvelope, actual: FleetState) -> EventEnvelope:
        """Return an envelope as it comes here; without event, in its place, if it doesn't."""
        match envelope.event:
            case ev.NodeReported() as report:
                self._take_over(report, actual)
            case ev.PolicyActivated():
                pass
            case ev.NodeConnected() as connected:
                # Its agent tells of itself again, be it that all is as it was.
                self._unsaid.setdefault(connected.node_id, [])
                return envelope
            case _:
                return envelope
        return replace(envelope, event=None)

    def _take_over(self, report: ev.NodeReported, actual: FleetState) -> None:
        """Take over what programs did of themselves."""
        node = actual.facts.nodes.get(report.node_id)
        if node is None or (report.epoch, report.number) != (node.epoch, node.last_report + 1):
            return
        for seen in report.observations:
            there = actual.decisions.placements.get(seen.replica_id)
            if there is None or there.desired not in {Desired.LIVE, Desired.LEAVING}:
                continue  # it ended because it was told to
            if seen.final or seen.restart_count or seen.health not in _WELL:
                here = self.fleet.decisions.placements.get(seen.replica_id)
                if here is not None:
                    self._say(here, seen)
                elif seen.final:
                    self._own_ends[seen.replica_id] = seen

    def _say(self, placed: PlacedReplica, seen: ReplicaObservation) -> None:
        self._unsaid.setdefault(placed.node_id, []).append(seen)

    def _may_speak(self, node_id: str) -> bool:
        node = self.fleet.facts.nodes.get(node_id)
        return node is not None and not node.removed and self.fleet.offline_since_us(node) is None

    def _speak(self) -> None:
        """Let nodes report what they have to say."""
        speaking = [node_id for node_id in self._unsaid if self._may_speak(node_id)]
        for start in range(0, len(speaking), MAX_EVENTS_PER_COMMIT):
            reports = [
                self._report(node_id) for node_id in speaking[start : start + MAX_EVENTS_PER_COMMIT]
            ]
            self._fold(self._commit(self.fleet.position, GATEWAY, reports))

    def _report(self, node_id: str) -> EventEnvelope:
        node = self.fleet.facts.nodes[node_id]
        number = node.last_report + 1
        report = ev.NodeReported(node_id, node.epoch, number, tuple(self._unsaid.pop(node_id)))
        name = f"node/{node_id}"
        event_id = report_event_id(node_id, number, node.epoch)
        return EventEnvelope(event_id, report, name, name, self.fleet.facts.log_time_us)

    # Rounds.

    def _decide(
        self,
        sequence: int,
        instant_us: int,
        observations: Sequence[ev.NodeSilence] = (),
        limit: int = 0,
    ) -> None:
        """Decide at most one round, which takes the place of a commit of the log."""
        self._speak()
        silent = tuple(each for each in observations if self._is_news(each))
        if not silent and not self.planner.has_work(instant_us):
            return
        decided = (
            self.planner.decide(instant_us, silent, limit)
            if limit
            else self.planner.decide(instant_us, silent)
        )
        if decided is None:
            return
        self._rounds += 1
        envelope = EventEnvelope("", decided.event, "fleet", f"scheduler/{_WRITER}", instant_us)
        self._fold(self._commit(sequence, SCHEDULER, [envelope]))
        self._tally.round(self.fleet, decided.event)

    def _is_news(self, silence: ev.NodeSilence) -> bool:
        node = self.fleet.facts.nodes.get(silence.node_id)
        return (
            node is not None
            and node.epoch == silence.epoch
            and not node.removed
            and self.fleet.offline_since_us(node) is None
        )

    def _commit(self, sequence: int, service: str, envelopes: Sequence[EventEnvelope]) -> Commit:
        name = digest(f"{_WRITER} {self._rounds}".encode())
        now_us = self.fleet.facts.log_time_us
        return Commit(sequence, service, _WRITER, name, now_us, tuple(envelopes))

    def _fold(self, commit: Commit) -> None:
        self._follow(self.planner.fold(commit).nodes)

    def _follow(self, node_ids: Iterable[str]) -> None:
        """Let agents run and end what rounds want them to."""
        for node_id in sorted(node_ids):
            for placed in self.fleet.on_node(node_id):
                for seen in self._obeyed(placed):
                    self._say(placed, seen)

    def _obeyed(self, placed: PlacedReplica) -> Iterator[ReplicaObservation]:
        ends = placed.desired is Desired.RELEASED
        if (placed.id, ends) in self._told:
            return
        self._told.add((placed.id, ends))
        now_us = self.fleet.facts.log_time_us
        if ends:
            yield ReplicaObservation(
                placed.id, _LAST, ReplicaState.STOPPED, final=True, observed_at_us=now_us
            )
        elif self.fleet.replica_state(placed) < ReplicaState.RUNNING:
            yield ReplicaObservation(
                placed.id,
                0,
                ReplicaState.RUNNING,
                started_at_us=now_us,
                health=Health.HEALTHY,
                observed_at_us=now_us,
            )
            own_end = self._own_ends.pop(placed.id, None)
            if own_end is not None:
                yield own_end


# A count of restarts that no report falls behind.
_LAST = 1 << 30
