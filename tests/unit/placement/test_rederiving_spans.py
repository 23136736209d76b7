"""Spans of a log derived again, from its start and from snapshots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import fleet as fleet_module
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.rederived import Rederived, RederivedPart, Span, Term, Verification
from fogbank.domain.snapshots import Snapshot, restored, snapshot_of
from fogbank.placement import ENGINE
from fogbank.placement.rederive import SpanRederiver
from tests.support.mixed_story import MixedStory, tell


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> MixedStory:
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 8)
    return tell(21, events=200, nodes=8)


def snapshots(told: MixedStory) -> list[Snapshot]:
    fleet, found = FleetState(keep_pieces=True), []
    for commit in told.log.commits:
        fleet.fold(commit)
        snapshot = snapshot_of(fleet)
        if snapshot is not None:
            found.append(snapshot)
    return found


def derived(commits: list[Commit], span: Span, fleet: FleetState | None = None) -> RederivedPart:
    begun = [commit for commit in commits if span.begun_after < commit.sequence <= span.last]
    return SpanRederiver(span, fleet).take(begun)


def test_a_span_is_the_same_from_the_start_and_from_every_snapshot_before_it(
    told: MixedStory,
) -> None:
    commits, found = told.log.commits, snapshots(told)
    assert len(found) > 2
    for snapshot in found:
        span = Span(snapshot.position + 1, commits[-1].sequence)
        whole = derived(commits, span)
        begun = replace(span, begun_after=snapshot.position)
        part = derived(commits, begun, restored(snapshot, ENGINE))
        assert part == replace(whole, span=begun)
        assert part.found == ()
        rounds = sum(commit.service == SCHEDULER for commit in commits[snapshot.position :])
        assert part.rounds == rounds
        assert part.void


def test_rounds_before_a_span_are_not_derived(told: MixedStory) -> None:
    commits = told.log.commits
    middle = len(commits) // 2
    part = derived(commits, Span(middle, middle + 40))
    assert part.sequence == middle + 40
    assert part.rounds == sum(
        commit.service == SCHEDULER for commit in commits[middle - 1 : middle + 40]
    )


def test_what_was_found_is_counted() -> None:
    found = Verification()
    span = Span(3, 20, rounds=9)
    found.take(RederivedPart(span, 2))
    assert (found.commits, found.checked, found.clean) == (0, 0, True)
    other = Rederived(11, 7, verifiable=False)
    differs = Rederived(12, 1, (Term("engine", "1", "2"),))
    assert str(other) == "round at sequence 11: unverifiable: engine 7"
    found.take(RederivedPart(span, 12, same=4, void=1, found=(other, differs)))
    assert (found.commits, found.checked, found.clean) == (10, 7, False)
    assert found.different == [differs]
    assert found.unverifiable == {7: 1}
