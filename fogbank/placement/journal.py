"""Which rows changed, in the order in which they did, for readers that keep something for each."""

from __future__ import annotations

from collections.abc import Collection, Sequence

_KEPT = 1 << 16

# Amounts of room by dimension.
Taken = tuple[int, ...]


class Journal:
    """Rows that changed. A reader remembers how far it read; what is too old is forgotten.

    With each row stands what was taken there, for changes that were nothing else.
    """

    def __init__(self, first: int = 0) -> None:
        """Begin with nothing changed since position `first`."""
        self._rows: list[int] = []
        self._taken: list[Taken] = []
        self._first = first

    @property
    def end(self) -> int:
        """How far there is to read."""
        return self._first + len(self._rows)

    def note_all(self, rows: Collection[int], taken: Taken = ()) -> None:
        """Note that rows changed."""
        self._rows += rows
        self._taken += [taken] * len(rows)
        if len(self._rows) > _KEPT:
            self._first += len(self._rows)
            self._rows.clear()
            self._taken.clear()

    def since(self, position: int) -> list[int] | None:
        """Return the rows that changed since a position, or None if that is too long ago."""
        return self._rows[position - self._first :] if position >= self._first else None

    def taken_since(self, position: int) -> Sequence[Taken]:
        """Return what was taken on each of the rows that `since` returns, () where more changed."""
        return self._taken[position - self._first :]
