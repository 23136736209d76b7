"""Changes of status between two commits: all of them, in order, some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusChange
from services.ledger.app.progress import Progress
from services.ledger.app.queries import LedgerQueries, Wait


def a_change(sequence: int, number: int) -> StatusChange:
    name = f"{sequence}/{number:05}"
    return StatusChange(name, None, DeploymentStatus.PENDING, 0, "", sequence)


class History:
    """Changes as tables have them; notes how many commits were asked for at once."""

    def __init__(self, per_commit: Sequence[int]) -> None:
        self.all = [
            a_change(sequence, number)
            for sequence, changes in enumerate(per_commit, start=1)
            for number in range(changes)
        ]
        self.widths: list[int] = []

    async def changes(self, first: int, last: int) -> Sequence[StatusChange]:
        self.widths.append(last - first + 1)
        return [change for change in self.all if first <= change.sequence <= last]


async def parts(history: History, after: int, upto: int) -> list[tuple[list[StatusChange], int]]:
    progress = Progress()
    progress.checkpoint = cast("Any", progress.checkpoint.__class__(upto))
    queries = LedgerQueries(cast("Any", history), cast("Any", None), progress)
    return [(list(some), to) async for some, to in queries.changes(after, Wait(upto))]


async def test_each_part_says_how_far_it_is_complete() -> None:
    history = History([3, 0, 1_200, 2, 0])

    found = await parts(history, 1, 5)

    assert [change for some, _ in found for change in some] == history.all[3:]
    assert [len(some) for some, _ in found] == [500, 500, 202]
    assert [upto for _, upto in found] == [2, 2, 5]


async def test_nothing_changed_is_told_too() -> None:
    assert await parts(History([1, 0, 0]), 1, 3) == [([], 3)]
    assert await parts(History([1]), 1, 1) == []


async def test_few_changes_are_looked_for_in_more_commits_at_once() -> None:
    history = History([1] * 600 + [100] * 600)

    found = await parts(history, 0, 1_200)

    assert [change for some, _ in found for change in some] == history.all
    assert history.widths == [64, 128, 256, 512, 240]
    assert found[-1][1] == 1_200
