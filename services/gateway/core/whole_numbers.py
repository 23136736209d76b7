"""Whole numbers that callers write as text: log sequences, and numbers of clusters and the like."""

from __future__ import annotations

_LARGEST = (1 << 63) - 1
# Bounded before it is read: Python takes longer and longer over digits, and refuses thousands.
_MOST_DIGITS = len(str(_LARGEST))


def whole_number(text: str) -> int | None:
    """Return the number that decimal digits write; None if it is none from 0 to 2**63 - 1."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        return None
    number = int(text)
    return number if number <= _LARGEST else None
