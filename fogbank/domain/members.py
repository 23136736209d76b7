"""Enums whose members cost nothing to name."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

EnumT = TypeVar("EnumT", bound=type[Enum])


def at_hand(cls: EnumT) -> EnumT:
    """Make an enum's members plain attributes of its class, as they are from Python 3.12 on.

    Python 3.11 calls a function wherever `Enum.MEMBER` stands, which takes as long as five
    comparisons; a fold names some for each replica.
    """
    for name, member in cls.__members__.items():
        type.__setattr__(cls, name, member)
    return cls
