"""Values and rows: dataclasses to who reads them, structures to who makes many of them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict, field, fields, replace

import pytest

from fogbank.domain.value import row, value


@value
class Point:
    """A value with all that one may have."""

    x: int
    y: int = 0
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def sum(self) -> int:
        """Something derived."""
        return self.x + self.y


@row
class Track:
    """A row that holds a value."""

    at: Point
    passed: list[int] = field(default_factory=list)


MAKERS: list[Callable[[], object]] = [lambda: Point(1), lambda: Track(Point(1))]


def test_a_value_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError):
        point.x = 2  # type: ignore[misc]
    assert replace(point, y=3) == Point(1, 3) != point
    assert replace(point, y=3).sum == 4


def test_a_row_can_be_changed_and_is_equal_to_its_like() -> None:
    track = Track(Point(1))
    track.at = Point(2)
    assert track == Track(Point(2)) != Track(Point(1))


def test_only_values_without_mappings_can_be_hashed() -> None:
    @value
    class Plain:
        """Nothing in it can be changed."""

        x: int

    assert len({Plain(1), Plain(1), Plain(2)}) == 2
    with pytest.raises(TypeError):
        hash(Point(1))
    with pytest.raises(TypeError):
        hash(Track(Point(1)))


def test_each_has_defaults_of_its_own() -> None:
    one, other = Track(Point(1)), Track(Point(1))
    one.passed.append(1)
    assert not other.passed
    assert one.at.labels is not other.at.labels


def test_both_are_read_as_dataclasses() -> None:
    assert [known.name for known in fields(Track)] == ["at", "passed"]
    expected = {"at": {"x": 1, "y": 0, "labels": {}}, "passed": []}
    assert asdict(Track(Point(1))) == expected


@pytest.mark.parametrize("make", MAKERS)
def test_the_garbage_collector_does_not_look_through_them(make: Callable[[], object]) -> None:
    assert not gc.is_tracked(make())
