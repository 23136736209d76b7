"""Positions, etags and ids: round trips and orders."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fogbank.domain.position import (
    MAX_EVENTS_PER_COMMIT,
    etag,
    index_of,
    pack,
    parse_etag,
    sequence_of,
)

sequences = st.integers(1, 99_999_999_999_999)
indexes = st.integers(0, MAX_EVENTS_PER_COMMIT - 1)


@given(sequences, indexes)
def test_an_etag_leads_back_to_its_position(sequence: int, index: int) -> None:
    position = pack(sequence, index)
    assert (sequence_of(position), index_of(position)) == (sequence, index)
    assert parse_etag(etag(position)) == position
    assert position < 1 << 63


@given(st.tuples(sequences, indexes), st.tuples(sequences, indexes))
def test_positions_are_ordered_like_the_log(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (pack(*one) < pack(*other)) is (one < other)


@given(st.text(st.sampled_from("0123456789. +-_\n"), max_size=20))
def test_a_text_is_an_etag_or_it_is_not_but_never_another_ones(text: str) -> None:
    position = parse_etag(text)
    assert position is None or etag(position) == text
