"""Enums whose members cost nothing to name, and little to find by their numbers."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TypeVar

EnumT = TypeVar("EnumT", bound=type[Enum])
NumberedT = TypeVar("NumberedT", bound=IntEnum)


def at_hand(cls: EnumT) -> EnumT:
    """Make an enum's members plain attributes of its class, as they are from Python 3.12 on.

    Python 3.11 calls a function wherever `Enum.MEMBER` stands, which takes as long as five
    comparisons; a fold names some for each replica.
    """
    for name, member in cls.__members__.items():
        type.__setattr__(cls, name, member)
    return cls


class ByNumber(dict[int, NumberedT]):
    """An enum's members by their numbers; ValueError for a number that none has.

    A tenth of the time of calling the enum, which decoding would for each event.
    """

    def __init__(self, kind: type[NumberedT]) -> None:
        """Take in an enum's members."""
        super().__init__((int(member), member) for member in kind)
        self._kind = kind

    def __missing__(self, number: int) -> NumberedT:
        """Let the enum say that it has no such member."""
        return self._kind(number)
