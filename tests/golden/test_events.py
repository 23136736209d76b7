"""The bytes of every event type stay readable, and are written the same, for ever."""

from __future__ import annotations

import pytest
from google.protobuf import json_format

from fogbank.codec.registry import BY_DOMAIN, EVENT_TYPES
from fogbank.domain import events as ev
from tests.golden.examples import EXAMPLES
from tests.golden.write_missing import EVENTS, missing_files, named_examples

CASES = [pytest.param(name, event, id=name) for name, event in named_examples().items()]


def _golden(name: str, ending: str) -> bytes:
    return (EVENTS / f"{name}.{ending}").read_bytes()


def test_each_type_has_an_example_and_its_files() -> None:
    assert {BY_DOMAIN[type(event)].name for event in EXAMPLES} == set(EVENT_TYPES)
    assert not missing_files(), "run: python -m tests.golden.write_missing"


@pytest.mark.parametrize(("name", "event"), CASES)
def test_golden_bytes_decode_to_the_example(name: str, event: ev.Event) -> None:
    kind = BY_DOMAIN[type(event)]
    assert kind.read(_golden(name, "bin")) == event


@pytest.mark.parametrize(("name", "event"), CASES)
def test_the_example_is_encoded_to_the_golden_bytes(name: str, event: ev.Event) -> None:
    kind = BY_DOMAIN[type(event)]
    assert kind.to_pb(event).SerializeToString(deterministic=True) == _golden(name, "bin")


@pytest.mark.parametrize(("name", "event"), CASES)
def test_the_readable_twin_says_the_same(name: str, event: ev.Event) -> None:
    kind = BY_DOMAIN[type(event)]
    twin = json_format.Parse(_golden(name, "json"), kind.message())
    assert twin == kind.message.FromString(_golden(name, "bin"))


@pytest.mark.parametrize(("name", "event"), CASES)
def test_an_example_sets_every_field(name: str, event: ev.Event) -> None:
    kind = BY_DOMAIN[type(event)]
    message = kind.message.FromString(_golden(name, "bin"))
    unset = {field.name for field in message.DESCRIPTOR.fields} - {
        field.name for field, _ in message.ListFields()
    }
    assert not unset
