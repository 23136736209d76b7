"""Enums whose members are plain attributes, and are found by their numbers."""

from __future__ import annotations

import pickle
from enum import IntEnum

import pytest

from fogbank.domain.members import ByNumber, at_hand


@at_hand
class Size(IntEnum):
    SMALL = 1
    LARGE = 2
    BIG = 2


def test_members_are_plain_attributes_of_the_class() -> None:
    assert vars(Size)["SMALL"] is Size.SMALL
    assert [*Size] == [Size(1), Size(2)]
    assert vars(Size)["BIG"] is Size(2)


def test_they_are_members_as_before() -> None:
    assert (Size.SMALL.name, repr(Size.LARGE)) == ("SMALL", "<Size.LARGE: 2>")
    assert pickle.loads(pickle.dumps(Size.SMALL)) is Size.SMALL  # noqa: S301
    assert isinstance(Size.SMALL, Size)


def test_they_are_found_by_their_numbers_and_only_by_those() -> None:
    sizes = ByNumber(Size)
    assert [sizes[1], sizes[2], sizes[Size.BIG]] == [Size.SMALL, Size.LARGE, Size.LARGE]
    with pytest.raises(ValueError, match="3 is not a valid Size"):
        sizes[3]
    assert len(sizes) == 2
