"""Tables and the digests kept of their pages: what is kept must be what reading anew comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from fogbank.domain import state_reading
from fogbank.domain.state_encoding import decode_state, digest_of, encode_state
from fogbank.domain.state_reading import ChangedBehindError, StateReading
from fogbank.domain.tables import ROWS_PER_PAGE, Table

ROWS = 3 * ROWS_PER_PAGE


@dataclass(slots=True)
class Thing:
    """A row that is changed in place."""

    number: int = 0


@dataclass(slots=True)
class Things:
    """A part of a state."""

    count: int = 0
    things: Table[str, Thing] = field(default_factory=Table)


def filled(rows: int = ROWS) -> Things:
    return Things(rows, Table((str(number), Thing(number)) for number in range(rows)))


def kept(reading: StateReading) -> bytes:
    return reading.digest(keep=False)[0]


def anew(things: Things) -> bytes:
    return digest_of(encode_state({"a": things}))


def test_what_is_kept_is_what_reading_anew_comes_to_whatever_happened() -> None:
    chance = Random(7)
    things = filled()
    reading = StateReading({"a": things})
    begun = Things()
    for step in range(1, 400):
        key = str(chance.randrange(2 * ROWS))
        if key not in things.things:
            things.things[key] = Thing(step)
        elif chance.random() < 0.5:
            del things.things[key]
        else:
            things.things.change(key).number = step
        things.count = step
        if chance.random() < 0.3:
            reading.round_counted(step, keep=False)
        if chance.random() < 0.2:
            assert reading.digest(keep=False)[0] == anew(things)
    # Who begins with the pages has the same rows, in their order, and adds to the same pages.
    decode_state({"a": begun}, encode_state({"a": things}))
    assert [*begun.things.items()] == [*things.things.items()]
    for number in range(ROWS):
        for each in (begun, things):
            each.things[f"new {number}"] = Thing(number)
    assert anew(begun) == anew(things) == kept(StateReading({"a": begun}))


def test_only_the_pages_with_changes_are_encoded_for_a_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    things = filled(100 * ROWS_PER_PAGE)
    reading = StateReading({"a": things})
    kept(reading)
    settled: list[int] = []
    settle = Table.settle

    def counted(self: Table[str, Thing], page: object, piece: bytes, *, keep: bool) -> None:
        settled.append(len(piece))
        settle(self, page, piece, keep=keep)  # type: ignore[arg-type]

    monkeypatch.setattr(Table, "settle", counted)
    for key in ("0", "1", str(5 * ROWS_PER_PAGE)):
        things.things.change(key).number += 1
    assert kept(reading) == anew(things)
    assert len(settled) == 2


def test_what_has_been_quiet_is_encoded_ahead_of_the_digest() -> None:
    things = filled(2 * ROWS_PER_PAGE)
    reading = StateReading({"a": things})
    for rounds in range(1, state_reading.QUIET_ROUNDS + 2):
        things.things.change("0").number += 1
        reading.round_counted(rounds, keep=False)
    busy, quiet = things.things.pages()
    assert not busy.digest
    assert quiet.digest
    assert kept(reading) == anew(things)


def test_who_is_far_behind_encodes_for_the_digest_only() -> None:
    things = filled(2 * ROWS_PER_PAGE)
    reading = StateReading({"a": things})
    rounds = 2 * state_reading.QUIET_ROUNDS
    reading.round_counted(rounds, keep=False, ahead=False)
    assert not any(page.digest for page in things.things.pages())
    reading.round_counted(rounds + 1, keep=False)
    assert all(page.digest for page in things.things.pages())
    assert kept(reading) == anew(things)


def test_pieces_are_kept_for_a_snapshot_also_of_what_was_read_before() -> None:
    things = filled()
    reading = StateReading({"a": things})
    digest, none = reading.digest(keep=False)
    assert none == ()
    again, pieces = reading.digest(keep=True)
    assert again == digest
    assert pieces == tuple(encode_state({"a": things})) == reading.digest(keep=True)[1]


def all_read_again(reading: StateReading, things: Things) -> None:
    for rounds in range(1, len(things.things.pages()) + 2):
        reading.round_counted(rounds, keep=False)


def test_what_was_changed_behind_its_back_is_found_by_reading_again() -> None:
    things = filled()
    reading = StateReading({"a": things})
    digest = kept(reading)
    things.things[str(ROWS_PER_PAGE)].number ^= 1 << 40
    assert kept(reading) == digest, "digests are of what was said to have changed"
    with pytest.raises(ChangedBehindError, match=r"^a\.things$"):
        all_read_again(reading, things)


def test_pages_without_rows_are_gone_and_the_last_one_is_filled_up() -> None:
    things = filled(ROWS_PER_PAGE + 2)
    for key in (str(ROWS_PER_PAGE), str(ROWS_PER_PAGE + 1), "3"):
        del things.things[key]
    things.things.discard("3")
    assert len(things.things.pages()) == 1
    things.things["new"] = Thing(1)
    (page,) = things.things.pages()
    assert [*page.keys][-1] == "new"
    for key in [*things.things]:
        assert things.things.oldest() == key
        del things.things[key]
    assert things.things.pages() == []
    assert things.things.oldest() is None


def test_a_table_is_not_changed_past_its_pages() -> None:
    table = filled(2).things
    for change in ("clear", "popitem", "pop", "setdefault", "update"):
        with pytest.raises(TypeError, match="by its keys"):
            getattr(table, change)("0")
    with pytest.raises(KeyError):
        table.change("another")
