"""Rounds derived again from what they name: the facts up to `facts_to`, the rounds up to `prev`.

In the log other facts may lie between a round's input and the round itself. They are held back
until a round's facts reach over them, so that each round is derived from its very input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from itertools import chain, islice

from fogbank.domain import events as ev
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.field_names import field_names
from fogbank.domain.fleet import FleetState
from fogbank.domain.folded import Folded
from fogbank.domain.rederived import Rederived, RederivedPart, Span, Term
from fogbank.placement.engine import Planner
from fogbank.placement.version import VERIFIABLE_ENGINES

# More terms of one round help nobody.
_TERMS_SHOWN = 20


class InputState(FleetState):
    """A state whose halves are folded apart: facts may follow rounds that they came before.

    A commit's `appended_at_us` must be the log time at its place in the log.
    """

    __slots__ = ()

    @classmethod
    def of(cls, fleet: FleetState) -> InputState:
        """Return a state with the parts of another one, which must not be used any more."""
        state = cls()
        for known in fields(fleet):
            setattr(state, known.name, getattr(fleet, known.name))
        return state

    def fold(self, commit: Commit) -> Folded:
        """Take in the next commit of its half."""
        return self._take_in(commit)


class Rederiver:
    """Takes in a log and derives every round that counts again."""

    def __init__(self, fleet: FleetState | None = None) -> None:
        """Begin before the first commit, or with the state right after a round that counts.

        Every later round covers the facts before that one, so that nothing is held back there.
        """
        self.fleet = InputState() if fleet is None else InputState.of(fleet)
        self.planner = Planner(self.fleet)
        self._log_time_us = self.fleet.facts.log_time_us
        # Sequence, log time and, if it holds facts, the commit.
        self._held_back: deque[tuple[int, int, Commit | None]] = deque()

    def take(self, commit: Commit, *, derive: bool = True) -> Rederived | None:
        """Take in the next commit; return what came of deriving it if it is a round that counts.

        Without `derive` a round is only folded.
        """
        self._log_time_us = max(self._log_time_us, commit.appended_at_us)
        if commit.service != SCHEDULER:
            self._hold_back(commit.sequence, replace(commit, appended_at_us=self._log_time_us))
            return None
        event = commit.envelopes[0].event
        if self.fleet.decisions.void_reason(commit) is not None:
            self._hold_back(commit.sequence, None)
            return None
        assert isinstance(event, ev.RoundDecided)  # noqa: S101  else it were void
        self._cover(event.facts_to)
        found = _derive(self.planner, commit, event) if derive else None
        self.planner.fold(commit)
        self._hold_back(commit.sequence, None)
        # Every later round covers at least the facts before this one.
        self._cover(commit.sequence)
        self.fleet.round_counted(event)
        return found

    def _hold_back(self, sequence: int, facts: Commit | None) -> None:
        self._held_back.append((sequence, self._log_time_us, facts))

    def _cover(self, facts_to: int) -> None:
        """Fold the facts up to a sequence; log time passes with the rounds among them, too."""
        held_back = self._held_back
        while held_back and held_back[0][0] <= facts_to:
            _, log_time_us, facts = held_back.popleft()
            if facts is None:
                self.fleet.facts.log_time_us = log_time_us
            else:
                self.planner.fold(facts)
        self.fleet.position = facts_to


class SpanRederiver:
    """Derives a span's rounds again, some commits at a time; those before are only folded."""

    def __init__(self, span: Span, fleet: FleetState | None = None) -> None:
        """Begin before the first commit, or with the state after the round `span.begun_after`."""
        self._span = span
        self._rederiver = Rederiver(fleet)

    def take(self, commits: Iterable[Commit]) -> RederivedPart:
        """Take in the next commits, at least one; return what came of their rounds."""
        sequence = same = void = 0
        found: list[Rederived] = []
        for commit in commits:
            sequence = commit.sequence
            wanted = sequence >= self._span.first
            derived = self._rederiver.take(commit, derive=wanted)
            if not wanted or commit.service != SCHEDULER:
                continue
            if derived is None:
                void += 1
            elif derived.same:
                same += 1
            else:
                found.append(derived)
        return RederivedPart(self._span, sequence, same, void, tuple(found))


def _derive(planner: Planner, commit: Commit, logged: ev.RoundDecided) -> Rederived:
    sequence, causes = commit.sequence, commit.envelopes[0].causes
    if logged.engine not in VERIFIABLE_ENGINES:
        return Rederived(sequence, logged.engine, verifiable=False)
    try:
        decided = planner.decide(logged.instant_us, logged.observations, logged.limit)
    except Exception as error:  # noqa: BLE001  the other rounds are to be verified all the same
        term = Term("round", f"an error: {error!r}", f"{len(logged.outcomes)} outcomes")
        return Rederived(sequence, logged.engine, (term,))
    if decided is None:
        term = Term("round", "nothing to decide", f"{len(logged.outcomes)} outcomes")
        return Rederived(sequence, logged.engine, (term,))
    # Rounds that name no causes were written before there were any.
    terms = chain(
        differences(replace(decided.event, engine=logged.engine), logged),
        differences(decided.causes, causes, "causes") if causes else (),
    )
    return Rederived(sequence, logged.engine, tuple(islice(terms, _TERMS_SHOWN)))


def differences(derived: object, logged: object, path: str = "") -> Iterator[Term]:
    """Yield where two values of the domain differ, each with its path, as `outcomes[2].reason`."""
    if derived == logged:
        return
    names = field_names(derived) if type(derived) is type(logged) else None
    if names is not None:
        for name in names:
            yield from differences(
                getattr(derived, name), getattr(logged, name), f"{path}.{name}" if path else name
            )
    elif isinstance(derived, tuple) and isinstance(logged, tuple):
        for index in range(max(len(derived), len(logged))):
            here = derived[index] if index < len(derived) else None
            there = logged[index] if index < len(logged) else None
            yield from differences(here, there, f"{path}[{index}]")
    else:
        yield Term(path, _text(derived), _text(logged))


def _text(value: object) -> str:
    if value is None:
        return "nothing"
    return value.hex() if isinstance(value, bytes) else repr(value)
