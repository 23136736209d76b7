"""What a fold has made is looked through once; garbage is not kept with it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from fogbank.runtime.garbage import (
    keep_what_was_folded,
    keeping_all,
    look_through_little_at_once,
)

MANY = 20_000


@pytest.fixture(autouse=True)
def by_hand() -> Iterator[None]:
    """Let nothing be collected but by hand, and nothing be kept before or after the test."""
    gc.unfreeze()
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def cycles(count: int) -> list[list[object]]:
    made: list[list[object]] = [[] for _ in range(count)]
    for each in made:
        each.append(each)
    return made


def test_what_a_fold_has_made_is_never_looked_through_again() -> None:
    before = gc.get_freeze_count()
    kept = [[number] for number in range(MANY)]
    keep_what_was_folded()
    assert gc.get_freeze_count() - before >= len(kept)


def test_little_is_left_alone() -> None:
    before = gc.get_freeze_count()
    kept = cycles(100)
    keep_what_was_folded()
    assert gc.get_freeze_count() == before
    assert len(kept) == 100


def test_garbage_goes_and_what_was_made_beside_much_of_it_is_not_kept() -> None:
    before = gc.get_freeze_count()
    kept = cycles(100)
    cycles(MANY)
    keep_what_was_folded()
    assert gc.get_freeze_count() == before
    assert gc.collect() < MANY
    assert len(kept) == 100


def test_little_garbage_goes_before_the_rest_is_kept() -> None:
    kept = [[number] for number in range(MANY)]
    cycles(100)
    keep_what_was_folded()
    gc.unfreeze()
    assert gc.collect() < 100
    assert len(kept) == MANY


def test_what_is_made_where_all_is_kept_is_never_looked_through() -> None:
    before = gc.get_freeze_count()
    with keeping_all():
        assert not gc.isenabled()
        kept = [[number] for number in range(MANY)]
    assert gc.isenabled()
    assert gc.get_freeze_count() - before >= len(kept)


def test_only_what_was_made_lately_is_looked_through_and_its_garbage_goes() -> None:
    thresholds = gc.get_threshold()
    looked: list[tuple[int, int]] = []

    def note(phase: str, found: dict[str, int]) -> None:
        if phase == "stop":
            looked.append((found["generation"], found["collected"]))

    look_through_little_at_once()
    gc.callbacks.append(note)
    gc.enable()
    try:
        kept = [[number] for number in range(10 * MANY)]
        for _ in range(MANY // 100):
            cycles(100)
    finally:
        gc.disable()
        gc.callbacks.remove(note)
        gc.set_threshold(*thresholds)
    assert len(looked) > 40
    assert max(generation for generation, _ in looked) == 1
    assert sum(collected for _, collected in looked) > MANY // 2
    assert len(kept) == 10 * MANY
