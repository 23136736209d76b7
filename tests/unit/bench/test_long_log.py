"""The log that benchmarks read: what its maker promises of it."""

from __future__ import annotations

from pathlib import Path

from bench.long_log import long_log, read_log, write_log
from fogbank.domain import events as ev
from fogbank.log.follower import decode
from fogbank.placement.rederive import Rederiver


def test_its_rounds_follow_from_it_and_nothing_in_it_is_void() -> None:
    rederiver = Rederiver()
    derived = []
    for stored in long_log(4_000, nodes=20, created=5, loads=10):
        commit = decode(stored)
        found = rederiver.take(commit)
        if isinstance(commit.envelopes[0].event, ev.RoundDecided):
            derived.append(found)
    assert len(derived) > 100
    assert all(found is not None and found.same for found in derived)


def test_it_is_the_same_each_time_and_comes_back_from_a_file(tmp_path: Path) -> None:
    commits = list(long_log(300, nodes=10, created=5, loads=10))
    write_log(tmp_path / "log.bin", long_log(300, nodes=10, created=5, loads=10))
    assert list(read_log(tmp_path / "log.bin")) == commits
