"""Words for the enums of the contract."""

from typing import Any


def enum_word(kind: Any, number: int, prefix: str) -> str:
    """Return an enum's value as a lowercase word without its prefix."""
    try:
        name: str = kind.Name(number)
    except ValueError:
        return str(number)  # a newer server's
    return name.removeprefix(prefix).lower()
