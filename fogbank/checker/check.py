"""The check of a log from its first commit to its last, one pass, in memory of the fleet's size.

A round is judged on its own input: facts up to its `facts_to`, rounds up to the one it names.
Since `facts_to` never falls along accepted rounds, facts wait until a round takes them in, and the
state is then exactly that input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from fogbank.checker.acknowledged import Acknowledged, Promises
from fogbank.checker.facts import Facts
from fogbank.checker.forgotten import LastRound
from fogbank.checker.outcomes import Outcomes
from fogbank.checker.report import Counts, Findings, Place, Report, Rule
from fogbank.checker.settled import check_settled, final_state
from fogbank.checker.wire import GATEWAY, ROUND, SCHEDULER, decode_commit, decode_event
from fogbank.checker.world import World
from fogbank.v1 import log_pb2, rounds_pb2

MAX_VIOLATIONS_KEPT = 1_000
_FIRST_PREV = bytes(32)


class LogCommit(NamedTuple):
    """A commit as the log holds it: its sequence, who appended it, and its bytes."""

    sequence: int
    service: str
    instance: str
    data: bytes


class _Waiting(NamedTuple):
    """A commit of facts that no round has taken in yet."""

    sequence: int
    log_time_us: int
    commit: log_pb2.Commit
    last_round: LastRound


class LogChecker:
    """Takes a log in, commit by commit. `finish` ends the check and reports."""

    def __init__(
        self,
        acknowledged: Iterable[Acknowledged] = (),
        *,
        first_sequence: int = 1,
        max_violations: int = MAX_VIOLATIONS_KEPT,
    ) -> None:
        self._findings = Findings(max_violations)
        self._counts = Counts()
        self._world = World()
        self._promises = Promises(list(acknowledged))
        self._facts = Facts(self._world, self._findings, self._promises)
        self._due = first_sequence
        self._log_time_us = 0
        self._waiting: deque[_Waiting] = deque()
        self._prev = _FIRST_PREV
        self._prev_sequence = 0
        self._instant_us = 0
        self._accepted = {_FIRST_PREV}
        self._last_round = LastRound()

    def take(self, stored: LogCommit) -> None:
        """Take in the next commit."""
        sequence = stored.sequence
        if sequence != self._due:
            self._findings.add(Place(sequence), Rule.SEQUENCE, f"comes where {self._due} is due")
        self._due = sequence + 1
        self._counts.commits += 1
        commit = decode_commit(sequence, stored.data, self._findings)
        if commit is None:
            return
        self._counts.events += len(commit.events)
        self._log_time_us = max(self._log_time_us, commit.appended_at_us)
        if stored.service == GATEWAY:
            self._waiting.append(_Waiting(sequence, self._log_time_us, commit, self._last_round))
        elif stored.service == SCHEDULER:
            self._take_from_scheduler(stored, commit)
        else:
            self._findings.add(
                Place(sequence), Rule.WRITER, f"{stored.service!r} may not write to the log"
            )

    def finish(self, *, settled: bool = False) -> Report:
        """End the check. With `settled`, also judge the state in which everything came to rest."""
        self._take_facts_to(None)
        self._facts.reports.finish()
        last = Place(self._due - 1)
        self._promises.finish(self._findings, last)
        if settled:
            check_settled(self._world, self._findings, last, self._promises.acknowledged)
        self._counts.nodes = len(self._world.nodes)
        self._counts.nodes_offline = sum(node.offline for node in self._world.nodes.values())
        for deployment in self._world.deployments.values():
            state = final_state(self._world, deployment)
            self._counts.deployments[state] = self._counts.deployments.get(state, 0) + 1
        return Report(self._findings.in_order(), self._findings.total, self._counts)

    def _take_facts_to(self, facts_to: int | None) -> None:
        waiting = self._waiting
        while waiting and (facts_to is None or waiting[0].sequence <= facts_to):
            self._take_facts(waiting.popleft())

    def _take_facts(self, waiting: _Waiting) -> None:
        for index, envelope in enumerate(waiting.commit.events):
            place = Place(waiting.sequence, index)
            event = decode_event(place, envelope, self._findings)
            if event is None:
                self._counts.events_ignored += 1
                continue
            if isinstance(event, rounds_pb2.RoundDecided):
                self._findings.add(place, Rule.WRITER, "a round on a gateway's subject")
                counts = False
            else:
                counts = self._facts.take(
                    place, envelope, event, waiting.log_time_us, waiting.last_round
                )
            self._counts.events_void += not counts
            self._counts.reports += counts and envelope.type == "fogbank.v1.NodeReported"

    def _take_from_scheduler(self, stored: LogCommit, commit: log_pb2.Commit) -> None:
        first = Place(stored.sequence)
        events = [
            decode_event(Place(stored.sequence, index), envelope, self._findings)
            for index, envelope in enumerate(commit.events)
        ]
        for index, event in enumerate(events):
            if event is not None and not isinstance(event, rounds_pb2.RoundDecided):
                self._findings.add(
                    Place(stored.sequence, index), Rule.WRITER, "a fact on a scheduler's subject"
                )
        if not any(envelope.type == ROUND for envelope in commit.events):
            return
        if len(events) != 1:
            self._findings.add(
                first, Rule.ROUND_ALONE, f"a round shares its commit with {len(events) - 1} events"
            )
        decided = events[0]
        if len(events) != 1 or not isinstance(decided, rounds_pb2.RoundDecided):
            self._counts.rounds_void += 1
            return
        digest = sha256(stored.data).digest()
        if self._is_void(first, decided, digest):
            self._counts.rounds_void += 1
            self._counts.events_void += 1
            return
        self._counts.rounds_accepted += 1
        self._take_facts_to(decided.facts_to)
        Outcomes(self._world, self._findings, self._counts, stored.sequence, decided).take()
        self._prev, self._prev_sequence = digest, stored.sequence
        self._instant_us = decided.instant_us
        self._accepted.add(digest)
        self._last_round = self._last_round.after(stored.sequence, decided)

    def _is_void(self, place: Place, decided: rounds_pb2.RoundDecided, digest: bytes) -> bool:
        """Tell whether a round means nothing.

        That somebody else was first is usual, and so is an append that arrives twice. A round that
        follows none that ever counted, or breaks off the chain it follows, is a fault.
        """
        if digest in self._accepted:
            self._counts.rounds_repeated += 1
            return True
        if decided.prev_digest != self._prev:
            if decided.prev_digest not in self._accepted:
                self._findings.add(
                    place,
                    Rule.ROUND_PREV,
                    f"follows {decided.prev_digest.hex()[:16]}, which is no accepted round",
                )
            return True
        if decided.instant_us < self._instant_us:
            self._findings.add(
                place,
                Rule.ROUND_INSTANT,
                f"decided at {decided.instant_us}, before the last round's {self._instant_us}",
            )
            return True
        if not self._prev_sequence <= decided.facts_to < place.sequence:
            self._findings.add(
                place,
                Rule.ROUND_FACTS,
                f"takes facts up to {decided.facts_to}, which is not from {self._prev_sequence} "
                f"to {place.sequence - 1}",
            )
            return True
        return False


def check_log(
    commits: Iterable[LogCommit],
    acknowledged: Iterable[Acknowledged] = (),
    *,
    settled: bool = False,
    first_sequence: int = 1,
) -> Report:
    """Check a whole log, in its order; `settled` as in `LogChecker.finish`."""
    checker = LogChecker(acknowledged, first_sequence=first_sequence)
    for commit in commits:
        checker.take(commit)
    return checker.finish(settled=settled)
