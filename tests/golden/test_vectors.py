"""Whoever reads the stored bytes comes to what vectors.json says, rounds included."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fogbank.codec import decode_commit, encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit
from fogbank.domain.position import parse_etag
from fogbank.placement import ENGINE, Planner
from tests.golden.make_vectors import PATH, etags, ids, read
from tests.golden.story import Story

VECTORS: dict[str, Any] = json.loads(PATH.read_text())
STORED = VECTORS["log"]["commits"]


def _commits() -> list[Commit]:
    return [
        decode_commit(
            stored["sequence"],
            stored["service"],
            stored["instance"],
            bytes.fromhex(stored["data"]),
        )
        for stored in STORED
    ]


def _rounds() -> list[int]:
    """Return the indexes of the accepted rounds' commits."""
    return [
        index
        for index, stored in enumerate(STORED)
        if stored["types"] == ["RoundDecided"] and stored["verdicts"] == ["accepted"]
    ]


def test_the_engine_is_the_one_that_decided_these() -> None:
    assert VECTORS["engine"] == ENGINE


def test_ids_and_digests_come_out_the_same() -> None:
    assert ids() == VECTORS["ids"]


def test_etags_come_out_the_same_and_back() -> None:
    assert etags() == VECTORS["etags"]
    for _, _, position, text in VECTORS["etags"]:
        assert parse_etag(text) == position


def test_folding_the_stored_bytes_comes_to_the_same() -> None:
    data = [bytes.fromhex(stored["data"]) for stored in STORED]
    assert read(_commits(), data) == VECTORS["log"]


def test_the_log_holds_what_it_is_to_show() -> None:
    verdicts = [verdict for stored in STORED for verdict in stored["verdicts"]]
    assert {"duplicate", "stale version", "not decided on the last round"} <= set(verdicts)
    assert len(_rounds()) == VECTORS["log"]["rounds"] == 3


def test_encoding_what_was_decoded_gives_the_same_bytes() -> None:
    for commit, stored in zip(_commits(), STORED, strict=True):
        envelopes = [encode_envelope(envelope) for envelope in commit.envelopes]
        assert encode_commit(commit.appended_at_us, envelopes).hex() == stored["data"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_round_is_derived_again(number: int) -> None:
    commits = _commits()
    at = _rounds()[number]
    event = commits[at].envelopes[0].event
    assert isinstance(event, ev.RoundDecided)
    planner = Planner()
    for commit in commits:
        if commit.sequence <= event.facts_to:
            planner.fold(commit)
    derived = planner.decide(event.instant_us, event.observations, event.limit)
    assert derived is not None
    assert derived.event == event
    envelope = commits[at].envelopes[0]
    again = encode_commit(commits[at].appended_at_us, [encode_envelope(envelope)])
    assert again.hex() == STORED[at]["data"]


def test_telling_the_story_again_writes_the_same_bytes() -> None:
    story = Story()
    story.tell()
    assert [data.hex() for data in story.log.data] == [stored["data"] for stored in STORED]
