"""Commits to bytes and back: what is written can be read, and what cannot be read is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.codec import CodecError, decode_commit, encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.bounds import MOST_REPLICAS_ASKED
from fogbank.domain.envelope import CommandTerms, EventEnvelope
from fogbank.domain.ids import digest
from fogbank.domain.position import MAX_EVENTS_PER_COMMIT
from fogbank.domain.resources import Resources
from fogbank.log.port import MAX_COMMIT_BYTES
from fogbank.v1 import facts_pb2, log_pb2, rounds_pb2
from tests.golden.examples import EXAMPLES
from tests.support.fleet_log import an_id

ENVELOPES = [
    EventEnvelope(
        f"id-{number}",
        event,
        "deployment/1",
        "user/7",
        1_700_000_000_000_000 + number,
        "cause",
        "together",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        may_ignore=bool(number % 2),
        command=CommandTerms(bytes(range(32)), 5 << 16) if number % 3 else None,
    )
    for number, event in enumerate(EXAMPLES)
]


def test_a_commit_comes_back_as_it_was() -> None:
    data = encode_commit(77, [encode_envelope(envelope) for envelope in ENVELOPES])
    commit = decode_commit(3, "gateway", "one", data)
    assert commit.envelopes == tuple(ENVELOPES)
    assert (commit.sequence, commit.service, commit.instance) == (3, "gateway", "one")
    assert (commit.appended_at_us, commit.digest) == (77, digest(data))


def test_as_many_replicas_as_may_be_asked_for_are_placed_by_one_event() -> None:
    replicas = tuple(
        ev.Placement(
            an_id(f"replica {slot}"),
            slot,
            1_000,
            an_id(f"fog-{slot}"),
            1_000,
            gpu_devices=tuple(range(16)),
        )
        for slot in range(MOST_REPLICAS_ASKED)
    )
    placed = ev.DeploymentPlaced(an_id("deployment"), 1 << 50, Resources(500, 512, 10, 0), replicas)
    event = ev.RoundDecided(bytes(32), 1 << 40, 1 << 51, "balanced@1", bytes(32), 99, 640)
    envelope = replace(ENVELOPES[0], event=replace(event, outcomes=(placed,)))
    assert len(encode_commit(1 << 51, [encode_envelope(envelope)])) <= MAX_COMMIT_BYTES


def test_framing_by_hand_is_what_protobuf_would_write() -> None:
    parts = [encode_envelope(envelope) for envelope in ENVELOPES]
    message = log_pb2.Commit(
        appended_at_us=77, events=[log_pb2.EventEnvelope.FromString(part) for part in parts]
    )
    assert encode_commit(77, parts) == message.SerializeToString(deterministic=True)


def test_a_commit_holds_at_least_one_event_and_at_most_as_many_as_have_a_position() -> None:
    with pytest.raises(CodecError, match="1 to 65536"):
        encode_commit(1, [])
    with pytest.raises(CodecError, match="1 to 65536"):
        encode_commit(1, [b""] * (MAX_EVENTS_PER_COMMIT + 1))
    with pytest.raises(CodecError, match="no event"):
        decode_commit(1, "gateway", "one", log_pb2.Commit(appended_at_us=1).SerializeToString())
    many = log_pb2.Commit(events=[log_pb2.EventEnvelope()] * (MAX_EVENTS_PER_COMMIT + 1))
    with pytest.raises(CodecError, match="more than have a position"):
        decode_commit(1, "gateway", "one", many.SerializeToString())


def test_an_unread_event_cannot_be_written() -> None:
    with pytest.raises(CodecError, match="unknown type"):
        encode_envelope(EventEnvelope("id", None, "", "", 1))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("NodeConnected", b"\xff\xff"),
        ("DeploymentCreated", facts_pb2.DeploymentCreated().SerializeToString()),
        ("RoundDecided", rounds_pb2.RoundDecided(outcomes=[rounds_pb2.Outcome()])),
    ],
)
def test_a_payload_that_is_not_its_type_stops_the_reader(kind: str, payload: object) -> None:
    if isinstance(payload, rounds_pb2.RoundDecided):
        payload = payload.SerializeToString()
    assert isinstance(payload, bytes)
    envelope = log_pb2.EventEnvelope(type=f"fogbank.v1.{kind}", payload=payload)
    data = encode_commit(1, [envelope.SerializeToString()])
    with pytest.raises(CodecError, match="cannot be decoded"):
        decode_commit(1, "gateway", "one", data)


def test_bytes_that_are_no_commit_stop_the_reader() -> None:
    with pytest.raises(CodecError, match="commit 9 cannot be decoded"):
        decode_commit(9, "gateway", "one", b"\xff\xff\xff")


def test_of_a_round_only_the_outcomes_that_are_wanted_are_read_with_their_causes() -> None:
    outcomes = (
        ev.DeploymentDeferred("d1", 1, 1, 0, "full"),
        ev.ReplicasReleased("d2", ("r1", "r2"), "done"),
        ev.ReplicasSuspended("d3", ("r3",), "n1"),
        ev.NodeOffline("n1", 1, 7),
        ev.DeploymentPlaced(
            "d4",
            2,
            Resources(1, 1, 1, 0),
            (ev.Placement("r5", 0, 1, "n2", 9, replaces="r4"),),
            evictions=(ev.Eviction("d5", ("r6",)),),
        ),
    )
    decided = ev.RoundDecided(bytes(32), 5, 10, "p", bytes(32), 4, 9, (), outcomes)
    causes = (11, 22, 33, 44, 55)
    envelope = EventEnvelope("e", decided, "round", "scheduler/a", 10, causes=causes)
    data = encode_commit(1, [encode_envelope(envelope)])
    for wanted, kept in (
        ({"d1"}, [0]),
        ({"r2"}, [1]),
        ({"n1"}, [2, 3]),
        ({"r5"}, [4]),
        ({"r4"}, [4]),
        ({"n2"}, [4]),
        ({"d5"}, [4]),
        ({"r6", "d1"}, [0, 4]),
        ({"nobody"}, []),
    ):
        found = decode_commit(1, "scheduler", "a", data, outcomes=wanted.__and__)
        (narrow,) = found.envelopes
        assert narrow.event == replace(decided, outcomes=tuple(outcomes[each] for each in kept))
        assert narrow.causes == tuple(causes[each] for each in kept)
        assert found.digest == digest(data)
