"""A state as bytes, one way only: equal states give equal bytes, on every machine.

What is encoded is found by walking the fields of the dataclasses, so that a new field is in it by
itself. The state's parts (the facts, the decisions) are encoded field by field; of a field that is
a table each page is a piece by itself. Fields marked `DERIVED` follow from the others and are left
out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from hashlib import sha256
from types import GenericAlias, MappingProxyType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from fogbank.domain.later import has_later, plain
from fogbank.domain.tables import ROWS_PER_PAGE, Encode, Page, Table

# Raised whenever folding the same bytes leads to another state than before.
FOLD = 3

# Marks a field that follows from others: `field(metadata=DERIVED)`.
DERIVED: Mapping[str, bool] = MappingProxyType({"derived": True})

_MAPPINGS = (dict, Mapping)
_PLAIN = msgspec.msgpack.Encoder()
_SORTING = msgspec.msgpack.Encoder(order="deterministic")


class StateEncodingError(ValueError):
    """Bytes that are not those of a state as this release encodes it."""


def encode_state(parts: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the pieces of some parts of a state, each a dataclass, by name."""
    for held in fields_of(parts):
        yield from held.encoded()


@dataclass(frozen=True, slots=True)
class HeldValue:
    """What a field of a state's part holds, no table: one piece."""

    value: Any
    encode: Encode

    def encoded(self) -> Iterator[bytes]:
        """Yield its piece."""
        yield self.encode(self.value)


@dataclass(frozen=True, slots=True)
class HeldTable:
    """A table of a state's part: a piece for each page; `name` is what messages call it."""

    name: str
    table: Table[Any, Any]
    encode: Encode

    def encoded(self) -> Iterator[bytes]:
        """Yield its pieces."""
        for page in self.table.pages():
            yield self.encoded_page(page)

    def encoded_page(self, page: Page[Any]) -> bytes:
        """Return the piece of one of its pages."""
        table = self.table
        return self.encode(list(zip(page.keys, map(table.__getitem__, page.keys), strict=True)))


def fields_of(parts: Mapping[str, Any]) -> Iterator[HeldValue | HeldTable]:
    """Yield the fields of some parts of a state that are encoded, always in the same order."""
    for part, held in parts.items():
        kind: type = type(held)
        for name, encode in _fields_encoded(part, kind):
            value = getattr(held, name)
            if isinstance(value, Table):
                yield HeldTable(f"{part}.{name}", value, encode)
            else:
                yield HeldValue(value, encode)


@cache
def _fields_encoded(part: str, kind: type) -> list[tuple[str, Encode]]:
    return [(known.name, _encode(part, known.name, kind)) for known in stored_fields(kind)]


def _encode(part: str, name: str, kind: type) -> Encode:
    hint = _hints(kind)[name]
    if any(map(has_later, classes_in(hint))):
        return lambda value: _PLAIN.encode((part, name, plain(value)))
    encoder = _encoder(_row_type(hint) if get_origin(hint) is Table else hint)
    return lambda value: encoder.encode((part, name, value))


def decode_state(parts: Mapping[str, Any], pieces: Iterable[bytes]) -> None:
    """Fill empty parts, by name, with what was encoded.

    Raises:
        StateEncodingError: the pieces hold something else.
    """
    for piece in pieces:
        try:
            part, name, raw = msgspec.msgpack.decode(piece, type=tuple[str, str, msgspec.Raw])
            kind: type = type(parts[part])
            hint = _hints(kind)[name]
            if get_origin(hint) is Table:
                rows = _decoder(_rows_type(hint)).decode(raw)
                getattr(parts[part], name).add_page(rows, piece)
            else:
                setattr(parts[part], name, _decoder(hint).decode(raw))
        except (msgspec.MsgspecError, KeyError) as error:
            text = f"a piece of a state can't be read: {error}"
            raise StateEncodingError(text) from error


def digest_of(pieces: Iterable[bytes]) -> bytes:
    """Return the digest of a state by its pieces."""
    return joined(sha256(piece).digest() for piece in pieces)


def joined(digests: Iterable[bytes]) -> bytes:
    """Return the digest of a state by those of its pieces: the SHA-256 over them in their order."""
    return sha256(b"".join(digests)).digest()


def structure_of(parts: Iterable[type]) -> bytes:
    """Return the SHA-256 of how a state is made up: each class, its fields, pages, and `FOLD`."""
    known: dict[str, str] = {}
    for part in parts:
        _describe(part, known)
    rules = f"fold {FOLD}, {ROWS_PER_PAGE} rows to a page"
    lines = [rules, *(f"{name}: {known[name]}" for name in sorted(known))]
    return sha256("\n".join(lines).encode()).digest()


def stored_fields(kind: type) -> list[Field[Any]]:
    """Return the fields of a dataclass that are encoded."""
    return [known for known in fields(kind) if not known.metadata.get("derived")]


def _describe(hint: Any, known: dict[str, str]) -> None:
    for kind in sorted(classes_in(hint), key=lambda each: each.__qualname__):
        hints = _hints(kind)
        known[kind.__qualname__] = ", ".join(
            f"{field.name} {hints[field.name]}" for field in stored_fields(kind)
        )


def classes_in(hint: Any) -> set[type]:
    """Return the dataclasses that values of a type hold, the type itself included."""
    found: set[type] = set()
    waiting = [hint]
    while waiting:
        here = waiting.pop()
        if isinstance(here, type) and is_dataclass(here):
            if here not in found:
                found.add(here)
                hints = _hints(here)
                waiting += [hints[known.name] for known in stored_fields(here)]
        else:
            waiting += get_args(here)
    return found


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _row_type(hint: Any) -> Any:
    return GenericAlias(tuple, get_args(hint))


def _rows_type(hint: Any) -> Any:
    return GenericAlias(list, (_row_type(hint),))


@cache
def _decoder(hint: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(hint)


@cache
def _encoder(hint: Any) -> msgspec.msgpack.Encoder:
    """Return the encoder for a type: mappings by text are sorted, those by number keep their order.

    Labels come from messages whose order means nothing; slots are filled in the log's order.
    """
    keys = set(_keys_in(hint))
    if not keys <= {str}:
        if str in keys:
            raise TypeError(f"{hint} has mappings by text and by number: one order for both?")
        return _PLAIN
    return _SORTING


def _keys_in(hint: Any) -> Iterator[Any]:
    inner = [_hints(kind)[known.name] for kind in classes_in(hint) for known in stored_fields(kind)]
    waiting = [hint, *inner]
    while waiting:
        here = waiting.pop()
        if get_origin(here) in _MAPPINGS:
            yield get_args(here)[0]
        if get_origin(here) in {Union, UnionType, tuple, list, *_MAPPINGS}:
            waiting += [argument for argument in get_args(here) if argument is not NoneType]
