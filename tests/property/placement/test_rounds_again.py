"""Every round can be derived again from what it names, anywhere; facts and rounds are apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogbank.codec import decode_commit, encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.envelope import SCHEDULER, Commit, EventEnvelope
from fogbank.domain.fleet import FleetState
from fogbank.placement.rederive import InputState, Rederiver
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.mixed_story import MixedStory, load, rederive, store, tell

ROOT = Path(__file__).resolve().parents[3]
QUICK, LONG = (11, 900), (12, 2_000)
PYTHONS = ("python3.12", "python3.13", "python3.14", "python3.15", "python3")
NEEDED = "import google.protobuf, numpy, sys; print(sys.version_info[:2])"


@cache
def story(seed: int, events: int) -> MixedStory:
    return tell(seed, events=events)


def assert_all_the_same(told: MixedStory) -> None:
    rederiver, found = rederive(told.log.commits)
    assert [str(each) for each in found if not each.same] == []
    live = told.planners[0].fleet
    assert len(found) == len(told.rounds) == live.decisions.rounds
    assert rederiver.fleet.decisions == live.decisions


def test_a_round_is_read_back_as_exactly_what_was_decided() -> None:
    """A scheduler folds the round that it appended without decoding it: all others decode it."""
    kinds = set()
    for decided in story(*QUICK).rounds:
        envelope = EventEnvelope("round", decided, "fleet", "scheduler/one", 7)
        data = encode_commit(7, [encode_envelope(envelope)])
        (read,) = decode_commit(1, SCHEDULER, "one", data).envelopes
        assert repr(read) == repr(envelope)  # of the same types, too
        kinds |= {type(outcome) for outcome in decided.outcomes}
    assert len(kinds) >= 5, kinds


def test_every_round_of_a_mixed_log_is_derived_again() -> None:
    told = story(*QUICK)
    assert_all_the_same(told)
    assert {"rival rounds", "old rounds", "rounds overtaken by facts"} <= told.happened.keys()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(201, 207))
def test_every_round_of_further_mixed_logs_is_derived_again(seed: int) -> None:
    # In that of 202 a node shrinks between a decision on it and its round.
    assert_all_the_same(tell(seed, events=300))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_round_of_a_long_mixed_log_is_derived_again(
    tmp_path: Path,
) -> None:
    told = story(*LONG)
    assert_all_the_same(told)
    kinds = Counter(type(outcome).__name__ for event in told.rounds for outcome in event.outcomes)
    assert len(kinds) >= 7, kinds
    assert elsewhere(told, tmp_path, other_circumstances()) == [str(len(told.rounds))]


def _switchable_features() -> str:
    """Return the processor's features that numpy can be told not to use."""
    core = import_module("numpy._core._multiarray_umath")
    present: dict[str, bool] = core.__cpu_features__
    return " ".join(name for name in core.__cpu_dispatch__ if present.get(name))


def other_circumstances() -> dict[str, str]:
    return {"PYTHONHASHSEED": "4711", "NPY_DISABLE_CPU_FEATURES": _switchable_features()}


def elsewhere(
    told: MixedStory, folder: Path, env: Mapping[str, str], python: str = sys.executable
) -> list[str]:
    """Derive a story's rounds in another process; return what it says of them."""
    store(told.log, folder / "log")
    found = subprocess.run(
        [python, "-m", "tests.support.mixed_story", str(folder / "log")],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        check=True,
        capture_output=True,
        text=True,
    )
    return found.stdout.splitlines()


def test_neither_hash_seed_nor_processor_features_change_a_round(tmp_path: Path) -> None:
    told = story(*QUICK)
    assert elsewhere(told, tmp_path, other_circumstances()) == [str(len(told.rounds))]


def other_pythons() -> list[str]:
    """Return the machine's other versions of Python that have what deciding needs."""
    found: dict[str, str] = {}
    for name in PYTHONS:
        path = shutil.which(name)
        if path is None:
            continue
        asked = subprocess.run([path, "-c", NEEDED], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.strip() != str(sys.version_info[:2]):
            found.setdefault(asked.stdout.strip(), path)
    return list(found.values())


@pytest.mark.slow
def test_another_python_derives_the_same_rounds(tmp_path: Path) -> None:
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other version of Python with numpy and protobuf on this machine")
    told = story(*QUICK)
    for python in pythons:
        assert elsewhere(told, tmp_path, {}, python) == [str(len(told.rounds))], python


def a_little_log() -> LittleFleet:
    fleet = LittleFleet()
    for number in range(3):
        fleet.connect(f"fog-{number}")
    fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    return fleet


def test_a_round_that_says_something_else_is_named_term_by_term() -> None:
    fleet = a_little_log()
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is None
    fleet.deploy(a_spec(replicas=1))
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    outcome = decided.event.outcomes[0]
    assert isinstance(outcome, ev.DeploymentPlaced)
    placement = outcome.placements[0]
    other = next(node for node in fleet.planner.fleet.facts.nodes if node != placement.node_id)
    forged = replace(
        decided.event,
        outcomes=(outcome._replace(placements=(placement._replace(node_id=other),)),),
    )
    commit = fleet.log.round(forged)
    _, found = rederive(fleet.log.commits)
    assert [each.same for each in found] == [True, False]
    assert str(found[-1]) == (
        f"round at sequence {commit.sequence}: outcomes[0].placements[0].node_id: "
        f"derived {placement.node_id!r}, logged {other!r}"
    )


def test_a_round_of_another_engine_is_unverifiable_and_not_different() -> None:
    fleet = a_little_log()
    fleet.deploy(a_spec(replicas=1))
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    commit = fleet.log.round(replace(decided.event, engine=4_711))
    _, found = rederive(fleet.log.commits)
    assert str(found[-1]) == f"round at sequence {commit.sequence}: unverifiable: engine 4711"
    assert not found[-1].terms


def test_a_round_without_reason_is_different() -> None:
    fleet = a_little_log()
    fleet.deploy(a_spec(replicas=1))
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    fleet.log.round(decided.event)
    again = replace(decided.event, prev_digest=fleet.log.commits[-1].digest)
    fleet.log.round(replace(again, facts_to=fleet.log.sequence))
    _, found = rederive(fleet.log.commits)
    assert "derived nothing to decide, logged 1 outcomes" in str(found[-1])


# The two halves.


def halves(told: MixedStory) -> tuple[list[Commit], list[Commit]]:
    """Return a log's facts, each as of the log time at its place, and its rounds."""
    facts, rounds, log_time_us = [], [], 0
    for commit in told.log.commits:
        log_time_us = max(log_time_us, commit.appended_at_us)
        if commit.service == SCHEDULER:
            rounds.append(commit)
        else:
            facts.append(replace(commit, appended_at_us=log_time_us))
    return facts, rounds


def derived_reads(state: FleetState) -> list[object]:
    return [
        (
            node.id,
            [placed.id for placed in state.on_node(node.id)],
            state.held(node.id),
            state.booked(node.id),
            node.id in state.overbooked,
            state.node_status(node),
        )
        for node in state.facts.nodes.values()
    ]


@settings(max_examples=25, deadline=None)
@given(order=st.integers(0, 2**32))
def test_facts_and_rounds_in_any_order_give_one_state(order: int) -> None:
    chance = Random(order)
    told = story(13, 250)
    facts, rounds = halves(told)
    state = InputState()
    taken = [0, 0]
    while taken[0] < len(facts) or taken[1] < len(rounds):
        half = chance.randrange(2)
        for _ in range(chance.randrange(1, 40)):
            if taken[half] < len((facts, rounds)[half]):
                state.fold((facts, rounds)[half][taken[half]])
                taken[half] += 1
    live = told.planners[0].fleet
    state.facts.log_time_us = live.facts.log_time_us
    assert state.facts == live.facts
    assert state.decisions == live.decisions
    assert derived_reads(state) == derived_reads(live)


def test_a_log_can_be_verified_in_part() -> None:
    told = story(13, 250)
    rederiver = Rederiver()
    half = told.log.sequence // 2
    found = [rederiver.take(commit, derive=commit.sequence > half) for commit in told.log.commits]
    derived = [each for each in found if each is not None]
    assert derived
    assert all(each.same and each.sequence > half for each in derived)


def test_a_stored_story_is_loaded_as_it_was(tmp_path: Path) -> None:
    told = story(13, 250)
    store(told.log, tmp_path / "log")
    assert load(tmp_path / "log") == told.log.commits
