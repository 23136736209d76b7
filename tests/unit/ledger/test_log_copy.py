"""In which parts the second copy hands out the commits that touch some things."""

from types import SimpleNamespace
from typing import Any, cast

from services.ledger.adapters import log_copy

MIB = 1024 * 1024


def parts(*sizes: int) -> list[int]:
    rows = [SimpleNamespace(sequence=at, size=size) for at, size in enumerate(sizes, 1)]
    found = list(log_copy._parts(cast("Any", rows)))
    assert [row for part in found for row in part] == rows
    return [len(part) for part in found]


def test_a_part_has_some_mib_or_one_commit() -> None:
    assert parts() == []
    assert parts(9 * MIB) == [1]
    assert parts(MIB, 2 * MIB, 9 * MIB, 1, 1) == [2, 1, 2]


def test_small_commits_go_by_the_hundred() -> None:
    # Each part is two statements, and a message to the process that folds.
    assert parts(*[300] * 1_500) == [1_000, 500]
