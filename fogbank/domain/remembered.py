"""What is remembered of a deployment's replicas that the state has forgotten.

It is all that anything still asks of them: whether any ever started, which revisions were well, and
how many broke in a row just before those that are known.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from fogbank.domain.value import value

# A wait has doubled for the last time before so many broke in a row.
MOST_IN_A_ROW = 33


@value
class BrokenRow:
    """So many replicas of a slot broke in a row, the last of them its `generation`th."""

    slot: int
    generation: int
    broken: int


@value
class Remembered:
    """`good` has revisions, each with the log time from which on it can be gone back to."""

    started: bool = False
    good: tuple[tuple[int, int], ...] = ()
    rows: tuple[BrokenRow, ...] = ()

    def broken_before(self, slot: int, generation: int) -> int:
        """Return how many of a slot broke in a row right before a generation."""
        before = slot, generation - 1
        return next((row.broken for row in self.rows if (row.slot, row.generation) == before), 0)

    def with_good(self, revision: int, from_us: int | None, kept: Container[int]) -> Remembered:
        """Return it with a revision that a replica showed to be good, unless `from_us` is None.

        Those that aren't kept are left out.
        """
        good = {known: at_us for known, at_us in self.good if known in kept}
        if from_us is not None and revision in kept:
            good[revision] = min(from_us, good.get(revision, from_us))
        return replace(self, good=tuple(sorted(good.items())))

    def with_end(self, slot: int, generation: int, *, broke: bool) -> Remembered:
        """Return it with one more replica of a slot, which `broke` soon after its start or not."""
        if any(row.slot == slot and row.generation > generation for row in self.rows):
            return self  # it ended late, and what came after it is forgotten already
        rows = {row.slot: row for row in self.rows if row.slot != slot}
        if broke:
            in_a_row = min(1 + self.broken_before(slot, generation), MOST_IN_A_ROW)
            rows[slot] = BrokenRow(slot, generation, in_a_row)
        return replace(self, rows=tuple(rows[each] for each in sorted(rows)))
