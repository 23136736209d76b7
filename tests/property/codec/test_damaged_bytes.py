"""Bytes that are not what they should be stop a reader with an error that says so, and no other."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from fogbank.codec import CodecError, decode_commit, encode_commit, encode_envelope
from fogbank.codec.registry import EVENT_TYPES
from fogbank.domain.envelope import GATEWAY, SCHEDULER, EventEnvelope
from fogbank.domain.fleet import FleetState
from fogbank.v1 import log_pb2
from tests.golden.examples import EXAMPLES

WHOLE = [
    encode_commit(1, [encode_envelope(EventEnvelope(f"id-{number}", event, "a", "b", 1))])
    for number, event in enumerate(EXAMPLES)
]
services = st.sampled_from([GATEWAY, SCHEDULER])


def _read(service: str, data: bytes) -> None:
    """Decode and fold; only CodecError may come of it."""
    with suppress(CodecError):
        FleetState().fold(decode_commit(1, service, "one", data))


@given(st.binary(max_size=200), services)
def test_any_bytes(data: bytes, service: str) -> None:
    _read(service, data)


@given(st.sampled_from(sorted(EVENT_TYPES)), st.binary(max_size=100), services)
def test_any_payload(name: str, payload: bytes, service: str) -> None:
    envelope = log_pb2.EventEnvelope(event_id="x", type=name, payload=payload)
    _read(service, encode_commit(1, [envelope.SerializeToString()]))


@given(st.sampled_from(WHOLE), st.integers(0, 10_000), st.integers(0, 7), services)
def test_one_flipped_bit(data: bytes, place: int, bit: int, service: str) -> None:
    damaged = bytearray(data)
    damaged[place % len(data)] ^= 1 << bit
    _read(service, bytes(damaged))


@given(st.sampled_from(WHOLE), st.integers(0, 10_000), services)
def test_a_torn_end(data: bytes, length: int, service: str) -> None:
    _read(service, data[: length % len(data)])
