"""How far the log goes, asked of it once for all who want to know at the same time."""

from __future__ import annotations

import asyncio

from fogbank.log.port import EventLog


class LogEnd:
    """Asks the log one question at a time, however many want to know."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._asked: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None

    async def ask(self) -> int:
        """Return the log's last sequence, as it is at this call or later.

        Raises:
            LogUnavailableError: the log does not answer.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asked))
        # Whoever gives up leaves the answer to the others.
        return await asyncio.shield(self._next)

    async def _ask_after(self, before: asyncio.Task[int] | None) -> int:
        """Ask once the question before is answered: that one may be of an earlier moment."""
        if before is not None:
            await asyncio.wait([before])
        self._asked, self._next = self._next, None
        return await self._log.last_sequence()
