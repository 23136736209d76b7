"""The digest of a state, and its pieces, from what is kept of each page of its tables.

Pages are encoded ahead of the digest, once nothing has changed on them for some rounds, so that a
digest only waits for those that keep changing; but not for who has much to catch up with, and gains
if a page that changes again is encoded once. And with each round one page is read again, so that
what was changed by nothing in the log (by damaged memory, or by a fold that forgot to say so) is
found here, where it happened, although no digest is computed from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import islice
from typing import Any

from fogbank.domain.state_encoding import HeldTable, fields_of, joined
from fogbank.domain.tables import Page

# Pages that nothing has changed on for so many rounds are encoded ahead.
QUIET_ROUNDS = 64
# So many of a table with one round: more than a full round changes, and who has caught up with the
# log encodes what waited for that little by little.
MOST_AHEAD = 64

# Follows the message where a service stands still.
IF_STATES_DIFFER = (
    ": one of the two is wrong, and nothing is decided or answered on it here; see "
    "docs/operations.md, 'When states differ'"
)


class ChangedBehindError(Exception):
    """What a state's memory holds is not what was last read of it, and nothing says why."""


class StateReading:
    """Reads the parts of one state, always the same; with `keep` it keeps the pieces it made."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = parts
        self._tables = [held for held in fields_of(parts) if isinstance(held, HeldTable)]
        self._again: Iterator[tuple[HeldTable, Page[Any]]] = iter(())

    def round_counted(self, rounds: int, *, keep: bool, ahead: bool = True) -> None:
        """Encode what is quiet if `ahead`, and read on; `rounds` is how many have counted.

        Raises:
            ChangedBehindError: a page read again is another than before; it names the field.
        """
        for held in self._tables:
            held.table.begin_turn(rounds)
            if ahead:
                _settle(held, rounds - QUIET_ROUNDS, keep=keep)
        self._read_on()

    def digest(self, *, keep: bool) -> tuple[bytes, tuple[bytes, ...]]:
        """Return the digest of the state as it is, and if kept the pieces it is computed from."""
        digests: list[bytes] = []
        pieces: list[bytes] = []
        for held in fields_of(self._parts):
            if isinstance(held, HeldTable):
                _settle(held, None, keep=keep)
                pages = held.table.pages()
                digests += [page.digest for page in pages]
                if keep:
                    pieces += [page.piece or _piece_kept(held, page) for page in pages]
            else:
                (piece,) = held.encoded()
                digests.append(sha256(piece).digest())
                pieces.append(piece)
        return joined(digests), tuple(pieces) if keep else ()

    def _read_on(self) -> None:
        """Read one more page again, and begin anew behind the last one."""
        found = next(self._again, None)
        if found is None:
            self._again = ((held, page) for held in self._tables for page in held.table.pages())
            return
        held, page = found
        # Without a digest it has changed since the pages were listed, or is gone.
        if page.digest and sha256(held.encoded_page(page)).digest() != page.digest:
            raise ChangedBehindError(held.name)


def _settle(held: HeldTable, upto: int | None, *, keep: bool) -> None:
    """Encode the changed pages, or the first of those up to a turn."""
    most = None if upto is None else MOST_AHEAD
    for page in islice(held.table.changed(upto), most):
        held.table.settle(page, held.encoded_page(page), keep=keep)


def _piece_kept(held: HeldTable, page: Page[Any]) -> bytes:
    """Return the piece of a page that was settled before pieces were kept, and keep it."""
    page.piece = held.encoded_page(page)
    return page.piece
