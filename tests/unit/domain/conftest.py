"""Whatever these tests fold: what it changed must have been said, or digests would miss it."""

from __future__ import annotations

import pytest

from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.folded import Folded
from tests.support.laws import unsaid_changes


@pytest.fixture(autouse=True)
def each_change_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = FleetState.fold

    def checked(self: FleetState, commit: Commit) -> Folded:
        folded = fold(self, commit)
        assert unsaid_changes(self) == []
        return folded

    monkeypatch.setattr(FleetState, "fold", checked)
