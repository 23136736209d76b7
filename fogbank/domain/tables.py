"""Tables of a state: dictionaries that know which of their rows were changed, page by page.

A page holds up to `ROWS_PER_PAGE` rows that were added one after the other. The digest of what it
is encoded as is kept until one of its rows is changed: so a digest of the state costs what was
changed since the one before, not what there is.

Which rows share a page follows from the rows added and removed, in their order: a new row goes to
the last page if there is room on it, and a page without rows is gone. So it is the same for all who
fold the same log, and for who begins with the pages of a snapshot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from hashlib import sha256
from typing import Any, Generic, TypeVar

ROWS_PER_PAGE = 32

Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")
Encode = Callable[[Any], bytes]


class Page(Generic[Key]):
    """Some rows of a table by their keys; `digest` is empty while it has to be computed anew.

    `piece` is what the digest was computed from, where that is kept, and `changed_at` the turn in
    which a row was changed last, -1 if none was since the digest was computed.
    """

    __slots__ = ("changed_at", "digest", "keys", "piece")

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.digest = b""
        self.piece = b""
        self.changed_at = -1


class Table(dict[Key, Row]):
    """A dictionary on pages. Who changes a row in place gets it by `change`."""

    __slots__ = ("_changed", "_last", "_page_of", "_pages", "_turn")

    def __init__(self, rows: Iterable[tuple[Key, Row]] = ()) -> None:
        super().__init__()
        self._page_of: dict[Key, Page[Key]] = {}
        # Both lose their first ones all the time, which a plain dictionary finds ever more slowly.
        self._pages: OrderedDict[Page[Key], None] = OrderedDict()
        # Those without a digest; what was changed last is last.
        self._changed: OrderedDict[Page[Key], None] = OrderedDict()
        self._last: Page[Key] | None = None
        self._turn = 0
        for key, row in rows:
            self[key] = row

    def __setitem__(self, key: Key, row: Row) -> None:
        rows = len(self)
        dict.__setitem__(self, key, row)
        page = self._page_of[key] if len(self) == rows else self._page_for(key)
        if page.changed_at != self._turn:
            self._note(page)

    def __delitem__(self, key: Key) -> None:
        super().__delitem__(key)
        page = self._page_of.pop(key)
        page.keys.remove(key)
        self._note(page)
        if not page.keys:
            del self._pages[page]
            del self._changed[page]
            if page is self._last:
                self._last = next(reversed(self._pages), None)

    def change(self, key: Key) -> Row:
        """Return a row that is about to be changed in place; KeyError if there is none."""
        page = self._page_of[key]
        if page.changed_at != self._turn:
            self._note(page)
        return self[key]

    def oldest(self) -> Key | None:
        """Return the key of the row that was added before all others; None without rows."""
        page = next(iter(self._pages), None)
        return None if page is None else page.keys[0]

    def discard(self, key: Key) -> None:
        """Remove a row if there is one."""
        if key in self:
            del self[key]

    def _untracked(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError("a table is changed by its keys, one by one")

    pop = popitem = setdefault = update = clear = __ior__ = _untracked

    def add(self, key: Key, row: Row) -> bool:
        """Add a row unless there is one under its key; tell whether there was none."""
        if dict.setdefault(self, key, row) is not row:
            return False
        page = self._page_for(key)
        if page.changed_at != self._turn:
            self._note(page)
        return True

    def _page_for(self, key: Key) -> Page[Key]:
        """Return the page that a new row is on from now on."""
        page = self._last
        if page is None or len(page.keys) >= ROWS_PER_PAGE:
            page = self._new_page()
        self._page_of[key] = page
        page.keys.append(key)
        return page

    def _new_page(self) -> Page[Key]:
        page = self._last = Page()
        self._pages[page] = None
        return page

    def _note(self, page: Page[Key]) -> None:
        """Note that a page's digest is no longer that of its rows."""
        page.digest = page.piece = b""
        page.changed_at = self._turn
        self._changed[page] = None
        self._changed.move_to_end(page)

    # What is read of it for digests.

    def pages(self) -> list[Page[Key]]:
        """Return the pages in their order."""
        return list(self._pages)

    def add_page(self, rows: Iterable[tuple[Key, Row]], piece: bytes) -> None:
        """Add a page as it was encoded elsewhere, behind those that are there."""
        page = self._new_page()
        for key, row in rows:
            super().__setitem__(key, row)
            self._page_of[key] = page
            page.keys.append(key)
        page.digest = sha256(piece).digest()

    def begin_turn(self, turn: int) -> None:
        """Count what is changed from now on as changed in a turn; turns rise."""
        self._turn = turn

    def changed(self, upto: int | None = None) -> Iterator[Page[Key]]:
        """Yield the changed pages, or those up to a turn; each must be settled before the next."""
        while self._changed:
            page = next(iter(self._changed))
            if upto is not None and page.changed_at > upto:
                return
            yield page

    def settle(self, page: Page[Key], piece: bytes, *, keep: bool) -> None:
        """Note what a page was encoded as, and `keep` it."""
        self._changed.pop(page, None)
        page.changed_at = -1
        page.digest = sha256(piece).digest()
        page.piece = piece if keep else b""
