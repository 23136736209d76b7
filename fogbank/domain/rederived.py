"""What came of deriving rounds again: where they differ from the log's, and how many did not.

Apart from the code that derives, so that whoever only shows it needs none of that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# More rounds than these are counted, and not kept.
_KEPT = 100


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

    A round of another engine is not verifiable: this release can't say what that one would decide.
    """

    sequence: int
    engine: int
    terms: tuple[Term, ...] = ()
    verifiable: bool = True

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


@dataclass(frozen=True, slots=True)
class Span:
    """Which commits' rounds are derived again, both ends included.

    `begun_after` is the round whose snapshot was begun with, 0 for the log's start; `rounds` are
    how many commits of schedulers lie in the span.
    """

    first: int
    last: int
    begun_after: int = 0
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class RederivedPart:
    """What came of some more of a span's commits, the last of them at `sequence`.

    `found` are the rounds that came out differently or could not be derived; `same` and `void`
    count the others. Before the span's first commit all of it is 0.
    """

    span: Span
    sequence: int
    same: int = 0
    void: int = 0
    found: tuple[Rederived, ...] = ()

    @property
    def rounds(self) -> int:
        """How many rounds it is about."""
        return self.same + self.void + len(self.found)


@dataclass(slots=True)
class Verification:
    """What came of deriving a span's rounds again; `different` are the first 100 that differ."""

    commits: int = 0
    same: int = 0
    void: int = 0
    different_total: int = 0
    different: list[Rederived] = field(default_factory=list)
    unverifiable: dict[int, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Tell whether no round differs."""
        return self.different_total == 0

    @property
    def checked(self) -> int:
        """How many rounds were looked at, void ones too."""
        return self.same + self.void + self.different_total + sum(self.unverifiable.values())

    def take(self, part: RederivedPart) -> None:
        """Count what came of some more commits."""
        self.same += part.same
        self.void += part.void
        self.commits = max(0, part.sequence - part.span.first + 1)
        for each in part.found:
            self._take_round(each)

    def _take_round(self, found: Rederived) -> None:
        if not found.verifiable:
            self.unverifiable[found.engine] = self.unverifiable.get(found.engine, 0) + 1
            return
        self.different_total += 1
        if len(self.different) < _KEPT:
            self.different.append(found)
