"""How far the ledger is, who waits for it to get further, and whether it is fit to answer."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from fogbank.domain.errors import DeadlineExceededError
from services.ledger.app import metrics
from services.ledger.app.ports import Checkpoint
from services.ledger.core.log_times import LogTimes


class Progress:
    """The ledger's place in the log; safe to use from one event loop only."""

    def __init__(self) -> None:
        self.checkpoint = Checkpoint()
        self.log_sequence = 0
        self.log_times = LogTimes()
        # Whether `checkpoint` says how far the tables are, and not only that nobody looked yet.
        self.known = False
        self._catch_up_to: int | None = None
        self._caught_up = False
        self._store_answers = True
        self._log_answers = True
        self._stands_still = False
        # Why nothing is read of the log, and nobody should rely on it; empty while it is read.
        self.log_refused = ""
        self._ready_changed = asyncio.Event()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = count()

    @property
    def position(self) -> int:
        """The sequence of the last commit that answers contain."""
        return self.checkpoint.position

    @property
    def ready(self) -> bool:
        """Whether the log's end as of the start was reached, and log and database answer."""
        able = self._store_answers and self._log_answers and not self._stands_still
        return self._caught_up and able

    def catch_up_to(self, sequence: int) -> None:
        """Name the log's end at the start: what must be reached to be ready."""
        if self._catch_up_to is None:
            self._catch_up_to = sequence
            self._look()

    def advance(self, checkpoint: Checkpoint) -> None:
        """Take note of how far the tables are now, and wake those who waited for it."""
        self.checkpoint = checkpoint
        self.known = True
        metrics.POSITION.set(checkpoint.position)
        while self._waiting and self._waiting[0][0] <= checkpoint.position:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)
        self.log_reaches(checkpoint.position)
        self._look()

    def log_reaches(self, sequence: int) -> None:
        """Take note of a commit known to be in the log."""
        self.log_sequence = max(self.log_sequence, sequence)
        metrics.LAG.set(self.log_sequence - self.position)

    def store_answers(self, answers: bool) -> None:  # noqa: FBT001 - a switch
        """Take note of whether the database answers."""
        self._store_answers = answers
        self._look()

    def log_answers(self, answers: bool) -> None:  # noqa: FBT001 - a switch
        """Take note of whether the log answers."""
        self._log_answers = answers
        self._look()

    def stand_still(self) -> None:
        """Take note that nothing more will be projected."""
        self._stands_still = True
        self._look()

    def refuse_log(self, why: str) -> None:
        """Take note of why the log is not read, or of "" when it is read again.

        How far it goes by then is not known: what was to be reached has to be named anew.
        """
        self.log_refused = why
        self._catch_up_to, self._caught_up = None, False
        self.log_sequence = self.position
        self._look()

    async def ready_changed(self, known: bool) -> bool:  # noqa: FBT001 - the value to compare
        """Wait until `ready` is no longer `known`, and return it."""
        while self.ready is known:
            await self._ready_changed.wait()
        return self.ready

    async def reach(self, sequence: int, within_s: float) -> None:
        """Wait until the tables hold commit `sequence`.

        Raises:
            DeadlineExceededError: not within `within_s` seconds.
        """
        if sequence <= self.position:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket = (sequence, next(self._tickets), future)
        heapq.heappush(self._waiting, ticket)
        try:
            async with asyncio.timeout(max(within_s, 0)):
                await future
        except TimeoutError:
            raise DeadlineExceededError(
                f"The ledger is at sequence {self.position}; {sequence} was asked for"
            ) from None
        finally:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                heapq.heapify(self._waiting)

    def _look(self) -> None:
        if self._catch_up_to is not None and self.position >= self._catch_up_to:
            self._caught_up = True
        changed, self._ready_changed = self._ready_changed, asyncio.Event()
        changed.set()
