"""A log that is closed for as long as it takes to mend it, and open again if nothing was done."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from fogbank.domain.errors import FogError

STAYS_CLOSED = (
    "The log is closed, nobody can write to it: run `fog audit restore` again, until it gets to "
    "its end"
)


class StreamState(Protocol):
    """A stream as it is found; without one, `last` is 0."""

    exists: bool
    last: int
    messages: int
    closed: bool


class Closable(Protocol):
    """A stream that can be closed; LogUnavailableError without an answer."""

    async def state(self) -> StreamState:
        """Return what there is."""

    async def close(self, why: str) -> None:
        """Let nobody write to it, and say why; make it if it isn't there."""

    async def open(self, note: str = "") -> None:
        """Let writers write; the note stays with it."""


@dataclass(slots=True)
class Closed:
    """A stream that was closed; who begins to change either store says so."""

    changed: bool = False


@asynccontextmanager
async def closed(stream: Closable, why: str) -> AsyncGenerator[Closed]:
    """Close a stream; who gets to the end opens it.

    Who fails or is cancelled before anything was changed leaves the stream as it was found. Where
    it stays closed, because it was before, is new, or was changed, the error has a note of that.
    """
    before = await stream.state()
    since = Closed()
    try:
        await stream.close(why)
        yield since
    except BaseException as error:
        was_open = before.exists and not before.closed
        if since.changed or not was_open or not await _opened(stream):
            error.add_note(STAYS_CLOSED)
        raise


async def _opened(stream: Closable) -> bool:
    try:
        await stream.open()
    except FogError:
        return False  # what made the restore fail is told
    return True
