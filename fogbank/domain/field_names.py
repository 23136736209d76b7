"""The fields of a value of the domain, whichever way its class is made."""

from __future__ import annotations

from dataclasses import fields, is_dataclass


def field_names(value: object) -> tuple[str, ...] | None:
    """Return the names of a dataclass's or named tuple's fields; None for any other value."""
    if is_dataclass(value):
        return tuple(known.name for known in fields(value))
    if isinstance(value, tuple):
        names: tuple[str, ...] | None = getattr(value, "_fields", None)
        return names
    return None
