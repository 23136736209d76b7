"""Commands into the log, and the fold's verdicts on them back out."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import FogError, UnavailableError
from fogbank.domain.events import Event
from fogbank.domain.position import index_of, sequence_of
from fogbank.log.port import CommitTooLargeError
from fogbank.runtime.crash_points import crash_point
from services.gateway.app.fold import FleetFold
from services.gateway.app.ports import CommitAppender
from services.gateway.app.principal import Principal
from services.gateway.core import commands

_EVENTS_PER_APPEND = 64
_REMEMBERED_WRITERS = 10_000
_RETRY_HINT_MS = 1_000


class CommandLog:
    """Appends commands and answers with what the fold says of them, never with the append alone.

    `verdict_timeout_s` bounds the wait for this gateway's own reading of the log.
    """

    def __init__(
        self, fold: FleetFold, appender: CommitAppender, *, verdict_timeout_s: float = 10
    ) -> None:
        self._fold = fold
        self._appender = appender
        self._verdict_timeout_s = verdict_timeout_s
        self._last_write: OrderedDict[str, int] = OrderedDict()

    def answered(self, envelope: EventEnvelope) -> int | None:
        """Return the position at which an earlier command of this id counts; None without one.

        Raises:
            FogError: what the earlier one was refused for, or that it was another one.
        """
        first = self._fold.fleet.facts.first(envelope)
        return None if first is None else commands.settle(envelope, first)

    async def submit(self, author: Principal | None, envelope: EventEnvelope) -> int:
        """Append a command and return the position at which it counts.

        It is the author's, whatever the envelope says; None is for what no user asked for.

        Raises:
            FogError: what it is refused for.
            UnavailableError: the log is down, or this gateway doesn't get on with reading it.
        """
        known = self.answered(envelope)
        if known is not None:
            return known
        await self._append(author, [envelope])
        return self._verdict(envelope)

    async def submit_many(
        self, author: Principal, envelopes: Sequence[EventEnvelope]
    ) -> list[int | FogError]:
        """Append many commands, each with an outcome of its own; as `submit`."""
        groups = [
            envelopes[start : start + _EVENTS_PER_APPEND]
            for start in range(0, len(envelopes), _EVENTS_PER_APPEND)
        ]
        settled = await asyncio.gather(*(self._submit_group(author, group) for group in groups))
        return [outcome for group in settled for outcome in group]

    async def _submit_group(
        self, author: Principal, envelopes: Sequence[EventEnvelope]
    ) -> list[int | FogError]:
        facts = self._fold.fleet.facts
        fresh = [each for each in envelopes if facts.first(each) is None]
        try:
            if fresh:
                await self._append(author, fresh)
        except CommitTooLargeError as error:
            if len(envelopes) == 1:
                return [error]
            half = len(envelopes) // 2
            return [
                *await self._submit_group(author, envelopes[:half]),
                *await self._submit_group(author, envelopes[half:]),
            ]
        except FogError as error:
            return [error] * len(envelopes)
        return [self._outcome(envelope) for envelope in envelopes]

    def _outcome(self, envelope: EventEnvelope) -> int | FogError:
        try:
            return self._verdict(envelope)
        except FogError as error:
            return error

    def _verdict(self, envelope: EventEnvelope) -> int:
        position = self.answered(envelope)
        if position is None:
            message = f"event {envelope.event_id} was folded and is not known"
            raise RuntimeError(message)
        return position

    async def _append(self, author: Principal | None, envelopes: Sequence[EventEnvelope]) -> None:
        """Append events and wait until the fold has judged them."""
        if author is not None:
            envelopes = [author.signed(each) for each in envelopes]
        crash_point("gateway.before-command-append")
        sequence, _index = await self._appender.append(envelopes)
        crash_point("gateway.after-command-append")
        await self.wait_for(sequence)
        crash_point("gateway.before-answer")
        if author is None:
            return
        self._last_write[author.user_id] = sequence
        self._last_write.move_to_end(author.user_id)
        if len(self._last_write) > _REMEMBERED_WRITERS:
            self._last_write.popitem(last=False)

    def last_write(self, user_id: str) -> int:
        """Return the log sequence of a user's last command through this gateway, 0 for none."""
        return self._last_write.get(user_id, 0)

    async def catch_up(self) -> None:
        """Wait until the fold has all that the log held when this was called.

        Raises:
            UnavailableError: the log does not answer, or it takes too long.
        """
        await self.wait_for(await self._fold.log_end())

    async def event_at(self, position: int) -> Event | None:
        """Return the event that stands at a position, from the log itself.

        Raises:
            LogUnavailableError: the log does not answer.
        """
        commit = await self._fold.commit(sequence_of(position))
        return commit.envelopes[index_of(position)].event

    async def wait_for(self, sequence: int) -> None:
        """Wait until the fold has taken in a sequence.

        Raises:
            UnavailableError: it takes too long.
        """
        if self._fold.position >= sequence:
            return
        try:
            async with asyncio.timeout(self._verdict_timeout_s):
                await self._fold.reached(sequence)
        except TimeoutError:
            raise UnavailableError(
                f"this gateway has read the log up to {self._fold.position} only, not yet up to "
                f"{sequence}; repeat with the same request id",
                retry_after_ms=_RETRY_HINT_MS,
            ) from None
