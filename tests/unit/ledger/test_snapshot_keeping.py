"""Which snapshots stay."""

from __future__ import annotations

import pytest

from services.ledger.core.snapshot_keeping import LATEST, to_drop


@pytest.mark.parametrize("most", [4, 10, 48])
def test_what_stays_lies_over_the_whole_log_and_the_latest_stay(most: int) -> None:
    kept: list[int] = []
    step = 1_000
    for number in range(1, 1_001):
        kept.append(number * step)
        for position in to_drop(kept, most):
            kept.remove(position)
        latest = [n * step for n in range(max(1, number - LATEST + 1), number + 1)]
        assert kept[-LATEST:] == latest
        assert len(kept) == min(number, most)
    holes = [later - earlier for earlier, later in zip([0, *kept], kept, strict=False)]
    # About four times what the same number of snapshots would leave if they lay evenly.
    assert max(holes) <= 4 * 1_000 * step / (most - LATEST)


def test_nothing_is_dropped_while_there_is_room() -> None:
    assert to_drop([], 4) == []
    assert to_drop([9, 3, 5, 7], 4) == []
    assert to_drop([1, 2, 90, 100], 3) == [1]
