"""A state's encoding: everything that decides is in it, equal states give equal bytes."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from fogbank.domain import events as ev
from fogbank.domain import fleet as fleet_module
from fogbank.domain.decisions import Decisions
from fogbank.domain.facts import Facts, NodeFact
from fogbank.domain.fleet import FleetState, StateDiffersError
from fogbank.domain.state_encoding import (
    StateEncodingError,
    classes_in,
    decode_state,
    digest_of,
    encode_state,
    stored_fields,
    structure_of,
)
from fogbank.domain.state_reading import MOST_AHEAD, QUIET_ROUNDS, StateReading
from fogbank.domain.tables import ROWS_PER_PAGE, Table
from fogbank.placement import Planner
from tests.golden.examples import DETAILS
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec
from tests.support.mixed_story import MixedStory, rederive, tell

PARTS = (Facts, Decisions)
CLASSES = sorted({kind for part in PARTS for kind in classes_in(part)}, key=lambda k: k.__name__)


@pytest.fixture
def digests_every(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda rounds: monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", rounds)


def encoded(state: FleetState) -> list[bytes]:
    return list(encode_state(state.parts))


# Every field counts.


def a_value(hint: Any, number: int) -> Any:
    """Return some value of a type; other numbers give other values."""
    origin = get_origin(hint)
    if hint in {None, NoneType}:
        return None
    if origin in {Union, UnionType}:
        return a_value(next(kind for kind in get_args(hint) if kind is not NoneType), number)
    if origin is tuple:
        kinds = [kind for kind in get_args(hint) if kind is not Ellipsis]
        return tuple(a_value(kind, number) for kind in kinds)
    if origin is list:
        return [a_value(get_args(hint)[0], number)]
    if origin in {dict, Mapping, Table}:
        key, value = get_args(hint)
        rows = {a_value(key, number): a_value(value, number)}
        return Table(rows.items()) if origin is Table else rows
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return list(hint)[number % len(hint)]
    simple = {int: number, float: number / 7, str: f"text {number}", bool: number % 2 == 1}
    if hint is bytes:
        return bytes([number])
    return simple[hint] if hint in simple else an_instance(hint, number)


def an_instance(kind: type, number: int) -> Any:
    """Return an instance of a dataclass with every field set; what may be None at depth is."""
    hints = get_type_hints(kind)
    made = {
        known.name: None
        if NoneType in get_args(hints[known.name]) and kind in classes_in(hints[known.name])
        else a_value(hints[known.name], number)
        for known in fields(kind)
    }
    return kind(**{known.name: made[known.name] for known in fields(kind) if known.init})


def each_field() -> Iterator[tuple[type, str]]:
    for kind in CLASSES:
        for known in stored_fields(kind):
            yield kind, known.name


@cache
def holder_of(kind: type) -> tuple[type, str]:
    """Return a part and its field whose values hold a class."""
    for part in PARTS:
        hints = get_type_hints(part)
        for known in stored_fields(part):
            if kind in classes_in(hints[known.name]):
                return part, known.name
    raise AssertionError(f"nothing holds {kind}")


@pytest.mark.parametrize(("kind", "name"), [*each_field()])
def test_each_field_of_each_class_is_encoded_and_read_back(kind: type, name: str) -> None:
    hint = get_type_hints(kind)[name]
    one = an_instance(kind, 1)
    other = replace(one, **{name: a_value(hint, 2)})
    if kind in PARTS:
        parts: list[Any] = [one, other]
    else:
        part, field_name = holder_of(kind)
        parts = [part(), part()]
        for made, value in zip(parts, (one, other), strict=True):
            set_inside(made, field_name, kind, value)
    pieces = [list(encode_state({"part": made})) for made in parts]
    assert digest_of(pieces[0]) != digest_of(pieces[1])
    for made, its in zip(parts, pieces, strict=True):
        again = type(made)()
        decode_state({"part": again}, its)
        assert again == made


def set_inside(part: Any, name: str, kind: type, value: Any) -> None:
    """Put an instance of a class where a part's field has one, at whatever depth."""
    setattr(part, name, put(get_type_hints(type(part))[name], kind, value))


def put(hint: Any, kind: type, value: Any) -> Any:
    origin = get_origin(hint)
    if hint is kind:
        return value
    if origin in {Union, UnionType}:
        return put(next(each for each in get_args(hint) if kind in classes_in(each)), kind, value)
    if origin in {dict, Mapping, Table}:
        rows = {a_value(get_args(hint)[0], 1): put(get_args(hint)[1], kind, value)}
        return Table(rows.items()) if origin is Table else rows
    if origin in {tuple, list}:
        kinds = [each for each in get_args(hint) if each is not Ellipsis]
        made = [
            put(each, kind, value) if kind in classes_in(each) else a_value(each, 1)
            for each in kinds
        ]
        return tuple(made) if origin is tuple else made
    found = an_instance(hint, 1)
    for known in stored_fields(hint):
        inner = get_type_hints(hint)[known.name]
        if kind in classes_in(inner):
            return replace(found, **{known.name: put(inner, kind, value)})
    raise AssertionError(f"{hint} holds no {kind}")


def test_the_order_of_labels_is_no_matter() -> None:
    states = []
    for labels in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}):
        state, log = FleetState(), LittleLog()
        state.fold(log.connect("fog", a_fingerprint(labels=labels))[1])
        for known in [*state.facts._known]:  # it has a digest of the command's own text
            del state.facts._known[known]
        states.append(encoded(state))
    assert states[0] == states[1]


def test_hosts_that_say_nothing_of_what_they_run_on_leave_digests_as_they_were() -> None:
    # Logs of earlier releases carry digests: nothing may be encoded for what they don't say.
    state, log = FleetState(), LittleLog()
    node_id, commit = log.connect("fog")
    state.fold(commit)
    assert not any(b"host_details" in piece for piece in encoded(state))
    state.fold(log.fact(ev.NodeConnected(node_id, "fog", a_fingerprint(), DETAILS)))
    assert any(b"host_details" in piece for piece in encoded(state))
    again = FleetState()
    decode_state(again.parts, encoded(state))
    assert again.facts.details_of(node_id) == DETAILS
    state.fold(log.fact(ev.NodeConnected(node_id, "fog", a_fingerprint())))
    assert not state.facts.host_details, "an agent that says no more, says no more"


def test_a_state_is_read_back_whole() -> None:
    told = a_story()
    live = told.planners[0].fleet
    again = FleetState()
    decode_state(again.parts, encoded(live))
    assert again.facts == live.facts
    assert again.decisions == live.decisions
    assert encoded(again) == encoded(live)


def test_pieces_of_something_else_are_refused() -> None:
    for damaged in (b"", b"\xc1", b"\x93\xa5facts\xa5nodes\x01", b"\x93\xa5facts\xa3xyz\x01"):
        with pytest.raises(StateEncodingError):
            decode_state(FleetState().parts, [damaged])


def test_the_structure_has_a_digest() -> None:
    assert len(structure_of(PARTS)) == 32
    assert structure_of(PARTS) != structure_of((Facts,))


# Digests in rounds.


@cache
def a_story() -> MixedStory:
    return tell(14, events=300, nodes=8)


def test_rounds_carry_digests_that_every_reader_finds_too(
    digests_every: Callable[[int], None],
) -> None:
    digests_every(7)
    told = tell(15, events=300, nodes=8)
    carrying = [number for number, event in enumerate(told.rounds, 1) if event.state_digest]
    assert carrying[0] == 7
    assert len(carrying) > 5
    assert all(later - earlier >= 7 for earlier, later in pairwise(carrying))
    for reader in (FleetState(), FleetState(far_behind=True)):
        for commit in told.log.commits:
            reader.fold(commit)
        assert reader.due_digest == told.planners[0].fleet.due_digest
    rederiver, found = rederive(told.log.commits)
    assert all(each.same for each in found)
    assert rederiver.fleet.decisions.digest_round == carrying[-1]


def test_who_was_far_behind_encodes_what_waited_little_by_little() -> None:
    facts = Facts()
    for number in range((MOST_AHEAD + 2) * ROWS_PER_PAGE):
        facts.nodes[f"fog-{number}"] = an_instance(NodeFact, 1)
    reading = StateReading({"facts": facts})

    def unread() -> int:
        return sum(not page.digest for page in facts.nodes.pages())

    assert unread() == MOST_AHEAD + 2
    reading.round_counted(QUIET_ROUNDS + 1, keep=False)
    assert unread() == 2
    reading.round_counted(QUIET_ROUNDS + 2, keep=False)
    assert unread() == 0


def test_a_reader_with_another_state_stops_and_says_where(
    digests_every: Callable[[int], None],
) -> None:
    digests_every(7)
    told = tell(15, events=300, nodes=8)
    carrying = next(
        commit
        for commit in told.log.commits
        if getattr(commit.envelopes[0].event, "state_digest", b"")
    )
    reader = FleetState()

    def read(first: int, last: int) -> None:
        for commit in told.log.commits[first:last]:
            reader.fold(commit)

    read(0, carrying.sequence // 2)
    reader.facts.nodes.change(next(iter(reader.facts.nodes))).order += 1
    with pytest.raises(StateDiffersError, match=f"round at sequence {carrying.sequence} "):
        read(carrying.sequence // 2, carrying.sequence)


def test_a_digest_of_another_state_is_a_difference_when_derived_again(
    digests_every: Callable[[int], None],
) -> None:
    digests_every(2)
    log, planner = LittleLog(), Planner()
    planner.fold(log.connect("fog")[1])
    for number in range(2):
        planner.fold(log.deploy(a_spec(f"d{number}"))[1])
        decided = planner.decide(log.now_us)
        assert decided is not None
        forged = bytes(32) if number else b""
        commit = log.round(replace(decided.event, state_digest=forged))
        if not number:
            planner.fold(commit)
    _, found = rederive(log.commits)
    assert [term.path for term in found[1].terms] == ["state_digest"]


def test_a_round_without_the_digest_that_is_due_counts(
    digests_every: Callable[[int], None],
) -> None:
    """As one by a release that knows no digests: the next one is due so many rounds later."""
    digests_every(2)
    log, state = LittleLog(), FleetState()
    state.fold(log.connect("fog")[1])
    told = tell(15, events=60, nodes=8)
    event = replace(told.rounds[0], state_digest=b"", observations=(), outcomes=())
    due = []
    for _ in range(4):
        prev = state.decisions.prev_digest
        this = replace(event, prev_digest=prev, facts_to=log.sequence, instant_us=log.now_us)
        state.fold(log.round(this))
        due.append(bool(state.due_digest))
    assert due == [True, False, True, False]
