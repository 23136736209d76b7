"""What nothing in the log has changed in memory is found by the one whose memory it is."""

from __future__ import annotations

import pytest

from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState, StateDiffersError
from tests.support.mixed_story import tell


@pytest.fixture(autouse=True)
def each_change_is_said() -> None:
    """Here some are not."""


def take(reader: FleetState, commits: list[Commit]) -> None:
    for commit in commits:
        reader.fold(commit)


def test_a_row_that_nothing_touches_any_more_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fogbank.domain.state_reading.QUIET_ROUNDS", 1)
    commits = tell(15, events=300, nodes=8).log.commits
    reader = FleetState()
    early = len(commits) // 4
    take(reader, commits[:early])
    known = reader.facts._known
    assert known.pages()[0].digest
    known[next(iter(known))].log_time_us ^= 1
    with pytest.raises(StateDiffersError, match=r"^facts\._known in memory here is no longer what"):
        take(reader, commits[early:])
