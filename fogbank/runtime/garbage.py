"""Garbage collection for services that keep a folded log."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# So many objects are looked through in about 2 ms.
_ENOUGH = 5_000
# Where more than such a part was garbage, it was not a fold that made the rest.
_SELDOM = 10


def spare_garbage_collection() -> None:
    """Collect garbage less often: nearly all that a fold makes, it keeps. A third faster."""
    gc.set_threshold(100_000, 20, 50)


def look_through_little_at_once() -> None:
    """Look for garbage among what was made lately, some milliseconds at a time, and seldom in all.

    For who keeps a folded log and has long connections besides: what these leave behind has to be
    found one day, so that nothing is kept for good as `keep_what_was_folded` does.
    """
    gc.set_threshold(_ENOUGH, 1, 500)


def keep_what_was_folded() -> None:
    """Collect the garbage among what was made lately, once that is a lot, and keep the rest.

    For between two rounds or batches. What a fold has made is then looked through once, some
    milliseconds at a time, and never again: otherwise that takes 50 ms for each 100,000 objects,
    and the longer the larger the state is. Cycles of what was under way at such a moment are never
    found; that is little beside what is kept, for where it is not, nothing is kept.
    """
    made = gc.get_count()[0]
    if made >= _ENOUGH and gc.collect(1) * _SELDOM < made:
        gc.freeze()


@contextmanager
def keeping_all() -> Iterator[None]:
    """Fold much of a log in this context: what it makes is never looked through. A sixth faster.

    Cycles that become garbage in it are never freed, so it must end where the log does.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
