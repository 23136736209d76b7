"""Sets of sequences, written as spans."""

from __future__ import annotations

from dataclasses import dataclass, field

_SHOWN = 5


@dataclass(slots=True)
class Spans:
    """Sequences as spans without a gap, first and last included, in order."""

    spans: list[tuple[int, int]] = field(default_factory=list)

    def add(self, sequence: int) -> None:
        """Add a sequence behind those that are there."""
        if self.spans and sequence <= self.spans[-1][1] + 1:
            self.spans[-1] = (self.spans[-1][0], max(sequence, self.spans[-1][1]))
        else:
            self.spans.append((sequence, sequence))

    @property
    def count(self) -> int:
        """How many sequences these are."""
        return sum(last - first + 1 for first, last in self.spans)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.spans)

    def __str__(self) -> str:
        """Return them for people, the first few if they are many."""
        texts = [
            str(first) if first == last else f"{first} to {last}"
            for first, last in self.spans[:_SHOWN]
        ]
        more = len(self.spans) - _SHOWN
        return ", ".join(texts) + (f" and {more} spans more" if more > 0 else "")
