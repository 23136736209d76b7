"""Values of the domain, made once and never changed, and rows of its tables, which are changed.

Both are described as dataclasses are, and read as such by `fields` and `replace`. Their instances
are `msgspec` structures: made, compared and encoded in a half to a third of a dataclass's time, and
unknown to the garbage collector, for none of them ever holds what holds it.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

import msgspec

ClassT = TypeVar("ClassT")

# What each plain class has of its own, and a structure otherwise or not at all.
_OF_PLAIN = frozenset({"__dict__", "__weakref__"})


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[ClassT]) -> type[ClassT]:
    """Make a class one of values, which compare and hash by their fields and can't be changed."""
    return _structure(cls, frozen=True)


@dataclass_transform(field_specifiers=(field,))
def row(cls: type[ClassT]) -> type[ClassT]:
    """Make a class one of rows, which compare by their fields and are changed in place."""
    return _structure(cls, frozen=False)


def _structure(cls: type[Any], *, frozen: bool) -> type[Any]:
    described = dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
    own = {name: held for name, held in vars(described).items() if name not in _OF_PLAIN}
    for known in fields(described):
        if known.default is not MISSING:
            own[known.name] = known.default
        elif known.default_factory is not MISSING:
            own[known.name] = msgspec.field(default_factory=known.default_factory)
    own["__qualname__"] = cls.__qualname__
    return msgspec.StructMeta(cls.__name__, (msgspec.Struct,), own, frozen=frozen, gc=False)
