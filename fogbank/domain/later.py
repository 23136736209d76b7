"""Fields that were added to what logs hold: while they have nothing to say, nothing says them.

So the digests of states and policies in a log of an earlier release come out as they did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any

# Marks such a field, which is 0 by default: `field(default=0, metadata=LATER)`.
LATER: Mapping[str, bool] = MappingProxyType({"later": True})


def has_later(kind: type) -> bool:
    """Tell whether a dataclass has such a field itself."""
    return any(known.metadata.get("later") for known in fields(kind))


def plain(value: Any) -> Any:
    """Return a value as dictionaries and lists, without such fields that are 0.

    A dataclass keeps the order of its fields, a mapping is sorted by its keys.
    """
    if is_dataclass(value):
        held = {known: getattr(value, known.name) for known in fields(value)}
        return {
            known.name: plain(each)
            for known, each in held.items()
            if each or not known.metadata.get("later")
        }
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value
