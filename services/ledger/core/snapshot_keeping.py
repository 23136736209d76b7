"""Which snapshots stay: the latest for those who start, the others for rounds derived again."""

from __future__ import annotations

from collections.abc import Iterable

# For schedulers that start; the newest may be damaged.
LATEST = 3


def to_drop(positions: Iterable[int], most: int) -> list[int]:
    """Return which of the snapshots at these positions to drop so that `most` stay, at least four.

    The latest three stay. Of the others those go first that leave the smallest hole, so that what
    stays lies about evenly over the whole log, however long that gets.
    """
    kept = sorted(positions)
    dropped = []
    while len(kept) > most:
        before = [0, *kept]
        movable = range(len(kept) - LATEST)
        least = min(movable, key=lambda index: (kept[index + 1] - before[index], index))
        dropped.append(kept.pop(least))
    return dropped
