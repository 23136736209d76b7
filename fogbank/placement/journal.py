"""Which rows changed, in the order in which they did, for readers that keep something for each."""

from __future__ import annotations

from collections.abc import Collection

# So many changes are kept at least.
_KEPT = 1 << 16


class Journal:
    """Rows that changed. A reader remembers how far it read; what is too old is forgotten."""

    def __init__(self, first: int = 0) -> None:
        """Begin with nothing changed since position `first`."""
        self._rows: list[int] = []
        self._first = first
        # How far there is to read.
        self.end = first

    def note_all(self, rows: Collection[int]) -> None:
        """Note that rows changed."""
        self._rows += rows
        self.end += len(rows)
        if len(self._rows) > 2 * _KEPT:
            self._first = self.end - _KEPT
            del self._rows[:-_KEPT]

    def since(self, position: int) -> list[int] | None:
        """Return the rows that changed since a position, or None if that is too long ago."""
        return self._rows[position - self._first :] if position >= self._first else None
