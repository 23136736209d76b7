"""Fields that were added to what logs hold leave the digests of earlier logs as they were."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

import msgspec

from fogbank.codec.policies import policy_from_pb, policy_to_pb
from fogbank.domain.disruption import DISRUPTION, DisruptionRules
from fogbank.domain.facts import Facts
from fogbank.domain.ids import digest, policy_digest
from fogbank.domain.later import LATER
from fogbank.domain.policy import Policy
from fogbank.domain.state_encoding import decode_state, encode_state, fields_of

SORTED = msgspec.msgpack.Encoder(order="deterministic")
LATENCIES = {"us-west": {"us-east": 60, "eu-north": 140}, "eu-north": {"us-west": 140}}
# As a policy of the release before has it.
EARLIER = Policy(disruption=DisruptionRules(), latency_ms=LATENCIES)


@dataclass(frozen=True)
class Rules:
    one: int = 1


@dataclass(frozen=True)
class LaterRules:
    one: int = 1
    two: int = field(default=0, metadata=LATER)


@dataclass
class Part:
    rules: tuple[Rules, ...] = (Rules(),)
    named: dict[str, int] = field(default_factory=lambda: {"b": 1, "a": 2})


@dataclass
class LaterPart:
    rules: tuple[LaterRules, ...] = (LaterRules(),)
    named: dict[str, int] = field(default_factory=lambda: {"b": 1, "a": 2})


def test_a_later_field_adds_nothing_while_it_is_0() -> None:
    assert [*encode_state({"part": LaterPart()})] == [*encode_state({"part": Part()})]
    changed = LaterPart((LaterRules(two=2),))
    pieces = [*encode_state({"part": changed})]
    assert pieces != [*encode_state({"part": Part()})]
    for made in (LaterPart(), changed):
        read = LaterPart(())
        decode_state({"part": read}, encode_state({"part": made}))
        assert read == made


def test_a_policy_of_an_earlier_release_is_encoded_as_it_was() -> None:
    (piece,) = [
        each
        for each in encode_state({"facts": Facts(policy=EARLIER)})
        if msgspec.msgpack.decode(each)[1] == "policy"
    ]
    as_it_was = msgspec.msgpack.decode(SORTED.encode(EARLIER))
    del as_it_was["disruption"]["eviction_grace_ms"]
    assert piece == msgspec.msgpack.encode(("facts", "policy", as_it_was))
    assert len([*fields_of({"facts": Facts()})]) > 1


def test_the_digest_of_a_policy_of_an_earlier_release_is_what_it_was() -> None:
    content = asdict(EARLIER)
    del content["disruption"]["eviction_grace_ms"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert policy_digest(EARLIER) == digest(text.encode())
    assert policy_digest(replace(EARLIER, disruption=DISRUPTION)) != policy_digest(EARLIER)


def test_a_policy_that_says_nothing_of_it_bounds_no_grace() -> None:
    message = policy_to_pb(Policy())
    assert policy_from_pb(message).disruption.eviction_grace_ms == 30_000
    message.disruption.ClearField("eviction_grace_ms")
    assert policy_from_pb(message).disruption == DisruptionRules()
    message.ClearField("disruption")
    assert policy_from_pb(message).disruption == DisruptionRules()
