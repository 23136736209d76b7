"""Rounds derived again from what they name: the facts up to `facts_to`, the rounds up to `prev`.

In the log other facts may lie between a round's input and the round itself. They are held back
until a round's facts reach over them, so that each round is derived from its very input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import islice

from fogbank.domain import events as ev
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.fleet import FleetState, Folded
from fogbank.placement.engine import Planner
from fogbank.placement.version import ENGINE

# More terms of one round help nobody.
_TERMS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Term:
    """Where a derived and a logged round differ, and both values as text."""

    path: str
    derived: str
    logged: str

    def __str__(self) -> str:
        """Return it as a phrase."""
        return f"{self.path}: derived {self.derived}, logged {self.logged}"


@dataclass(frozen=True, slots=True)
class Rederived:
    """What deriving an accepted round again came to; no terms if it is the same round.

    A round of another engine is not derived: this release can't say what that one would decide.
    """

    sequence: int
    engine: int
    terms: tuple[Term, ...] = ()

    @property
    def verifiable(self) -> bool:
        """Tell whether this release's engine made the round."""
        return self.engine == ENGINE

    @property
    def same(self) -> bool:
        """Tell whether the round was derived and is the same."""
        return self.verifiable and not self.terms

    def __str__(self) -> str:
        """Return it as a sentence."""
        if not self.verifiable:
            return f"round at sequence {self.sequence}: unverifiable: engine {self.engine}"
        if not self.terms:
            return f"round at sequence {self.sequence}: the same"
        return f"round at sequence {self.sequence}: " + "; ".join(map(str, self.terms))


class InputState(FleetState):
    """A state whose halves are folded apart: facts may follow rounds that they came before.

    A commit's `appended_at_us` must be the log time at its place in the log.
    """

    __slots__ = ()

    def fold(self, commit: Commit) -> Folded:
        """Take in the next commit of its half."""
        return self._take_in(commit)


class Rederiver:
    """Takes in a log from its first commit and derives every round that counts again."""

    def __init__(self) -> None:
        """Begin before the first commit."""
        self.fleet = InputState()
        self.planner = Planner(self.fleet)
        self._log_time_us = 0
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
        found = _derive(self.planner, commit.sequence, event) if derive else None
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


def _derive(planner: Planner, sequence: int, logged: ev.RoundDecided) -> Rederived:
    if logged.engine != ENGINE:
        return Rederived(sequence, logged.engine)
    try:
        decided = planner.decide(logged.instant_us, logged.observations, logged.limit)
    except Exception as error:  # noqa: BLE001  the other rounds are to be verified all the same
        term = Term("round", f"an error: {error!r}", f"{len(logged.outcomes)} outcomes")
        return Rederived(sequence, logged.engine, (term,))
    if decided is None:
        term = Term("round", "nothing to decide", f"{len(logged.outcomes)} outcomes")
        return Rederived(sequence, logged.engine, (term,))
    if decided.event == logged:
        return Rederived(sequence, logged.engine)
    terms = islice(differences(decided.event, logged), _TERMS_SHOWN)
    return Rederived(sequence, logged.engine, tuple(terms))


def differences(derived: object, logged: object, path: str = "") -> Iterator[Term]:
    """Yield where two values of the domain differ, each with its path, as `outcomes[2].reason`."""
    if derived == logged:
        return
    if type(derived) is type(logged) and is_dataclass(derived) and not isinstance(derived, type):
        for known in fields(derived):
            yield from differences(
                getattr(derived, known.name),
                getattr(logged, known.name),
                f"{path}.{known.name}" if path else known.name,
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
