"""Many small appends, few commits: what arrives while one commit is being written makes the next.

The rule for a commit that was sent and not confirmed, in full:

1. Its callers get LogUnavailableError: whether it happened is unknown to them. A repeat of the
   same command is harmless, its event id is the same.
2. Callers that wait behind it get LogUnavailableError too: theirs was never sent.
3. The same bytes are appended again and again, and nothing else before them, so that a writer's
   commits can't change places. Meanwhile new callers are refused at once.
4. When it is confirmed, the writer is open again.

Nothing is ever answered from a buffer: a caller that gets a sequence has a durable commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import FogError, ResourceExhaustedError
from fogbank.domain.position import MAX_EVENTS_PER_COMMIT
from fogbank.log import metrics
from fogbank.log.clock_check import ClockCheck
from fogbank.log.port import (
    MAX_COMMIT_BYTES,
    CommitTooLargeError,
    EventLog,
    LogBrokenError,
    LogUnavailableError,
)
from fogbank.runtime.clock import Clock

_log = structlog.get_logger(__name__)

# What a commit adds to its envelopes' bytes: its instant, and a frame around each.
_COMMIT_OVERHEAD = 16
_FRAME_OVERHEAD = 5
_DEFAULT_BACKLOG_BYTES = 8 * 1024 * 1024
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_RETRY_HINT_MS = 1_000


@dataclass(slots=True)
class _Request:
    """One caller's envelopes, encoded; they end up in one commit, side by side."""

    parts: list[bytes]
    size: int
    answer: asyncio.Future[tuple[int, int]]

    def fail(self, error: FogError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True)
class _Flight:
    """A commit on its way, and whose envelopes it carries."""

    data: bytes
    requests: list[_Request] = field(default_factory=list)
    events: int = 0


class GroupCommit:
    """A writer's gate to the log: exactly one append in flight, the rest collects behind it.

    `run` must be running for anything to happen; it belongs in the service's task group.
    `max_backlog_bytes` bounds what may wait.
    """

    def __init__(
        self, log: EventLog, clock: Clock, *, max_backlog_bytes: int = _DEFAULT_BACKLOG_BYTES
    ) -> None:
        self._log = log
        self._clock = clock
        self._clock_check = ClockCheck(log, clock)
        self._max_backlog_bytes = max_backlog_bytes
        self._waiting: deque[_Request] = deque()
        self._backlog_bytes = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed_for: str | None = None
        self._appended_at_us = 0

    @property
    def is_open(self) -> bool:
        """Whether appends are taken; False while the outcome of a commit is unknown."""
        return self._closed_for is None

    async def append(self, envelopes: Sequence[EventEnvelope]) -> tuple[int, int]:
        """Append events side by side in one commit; return its sequence and the first's index.

        They are durable when this returns. A caller that is cancelled while it waits has its
        events withdrawn unless they are on their way already.

        Raises:
            ValueError: no events.
            CodecError: an event that cannot be written.
            CommitTooLargeError: too many bytes or events for one commit.
            ResourceExhaustedError: too much waits already (LOG_BACKLOG_FULL), or the log is full
                (LOG_FULL); nothing was written.
            LogUnavailableError: not confirmed; the message says whether it can have happened.
        """
        parts = [encode_envelope(envelope) for envelope in envelopes]
        if not parts:
            raise ValueError("a commit holds at least one event")
        size = sum(map(len, parts)) + _FRAME_OVERHEAD * len(parts)
        if size > MAX_COMMIT_BYTES - _COMMIT_OVERHEAD or len(parts) > MAX_EVENTS_PER_COMMIT:
            raise CommitTooLargeError(
                f"{len(parts)} events of {size} bytes don't fit into one commit of "
                f"{MAX_COMMIT_BYTES} bytes"
            )
        if self._closed_for is not None:
            metrics.REFUSALS.labels("LOG_UNAVAILABLE").inc()
            raise _not_appended(self._closed_for)
        if self._backlog_bytes + size > self._max_backlog_bytes:
            metrics.REFUSALS.labels("LOG_BACKLOG_FULL").inc()
            raise ResourceExhaustedError(
                "too many events wait to be written",
                reason="LOG_BACKLOG_FULL",
                retry_after_ms=_RETRY_HINT_MS,
            )
        request = _Request(parts, size, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._set_backlog(self._backlog_bytes + size)
        self._idle.clear()
        self._wake.set()
        return await request.answer

    async def drain(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write commits until cancelled.

        Raises:
            LogBrokenError: the log lost what it had confirmed; the process should end.
        """
        flight: _Flight | None = None
        try:
            while True:
                while not self._waiting:
                    self._idle.set()
                    self._wake.clear()
                    await self._wake.wait()
                if await self._may_write() and (flight := self._collect()) is not None:
                    await self._fly(flight)
                    flight = None
        finally:
            self._closed_for = "this process is stopping"
            for request in flight.requests if flight is not None else ():
                request.fail(_in_doubt())
            self._refuse_waiting(self._closed_for)
            self._idle.set()

    async def _may_write(self) -> bool:
        """Whether the clock is good enough; refuses everyone who waits if it isn't."""
        try:
            await self._clock_check.require()
        except LogUnavailableError as error:
            _log.warning("nothing can be appended", error=error.message)
            self._refuse_waiting(error.message, error.reason)
            return False
        return True

    def _collect(self) -> _Flight | None:
        """Make the next commit of what waits, whole requests only; None if all gave up."""
        requests: list[_Request] = []
        parts: list[bytes] = []
        size = _COMMIT_OVERHEAD
        while self._waiting:
            request = self._waiting[0]
            if not request.answer.cancelled():
                if size + request.size > MAX_COMMIT_BYTES:
                    break
                if len(parts) + len(request.parts) > MAX_EVENTS_PER_COMMIT:
                    break
                size += request.size
                requests.append(request)
                parts += request.parts
            self._waiting.popleft()
            self._set_backlog(self._backlog_bytes - request.size)
        if not requests:
            return None
        self._appended_at_us = max(self._appended_at_us, self._clock.now_us())
        return _Flight(encode_commit(self._appended_at_us, parts), requests, len(parts))

    async def _fly(self, flight: _Flight) -> None:
        """Append one commit and answer its callers, by the rule above."""
        began_s = self._clock.monotonic_s()
        try:
            sequence = await self._log.append(flight.data)
        except LogUnavailableError as error:
            metrics.REFUSALS.labels(error.reason).inc()
            self._closed_for = "the outcome of an earlier commit is still unknown"
            for request in flight.requests:
                request.fail(_in_doubt())
            self._refuse_waiting(self._closed_for)
            sequence = await self._insist(flight.data)
            self._closed_for = None
        except FogError as error:
            # Certainly not written: too large for this broker, or the log is full.
            metrics.REFUSALS.labels(error.reason).inc()
            for request in flight.requests:
                request.fail(_copy(error))
            return
        except LogBrokenError as error:
            for request in flight.requests:
                request.fail(_not_appended(str(error)))
            raise
        metrics.APPEND_SECONDS.observe(self._clock.monotonic_s() - began_s)
        metrics.COMMITS.inc()
        metrics.EVENTS.inc(flight.events)
        index = 0
        for request in flight.requests:
            if not request.answer.done():
                request.answer.set_result((sequence, index))
            index += len(request.parts)

    async def _insist(self, data: bytes) -> int:
        """Append the same bytes until the log confirms them."""
        pause_s = _FIRST_PAUSE_S
        while True:
            _log.warning("a commit is unconfirmed, trying again", pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            try:
                sequence = await self._log.append(data)
            except FogError as error:
                _log.warning("the log does not confirm", error=error.message)
            else:
                _log.info("the unconfirmed commit is in the log", sequence=sequence)
                return sequence

    def _refuse_waiting(self, why: str, reason: str | None = None) -> None:
        while self._waiting:
            metrics.REFUSALS.labels(reason or LogUnavailableError.default_reason).inc()
            self._waiting.popleft().fail(_not_appended(why, reason))
        self._set_backlog(0)

    def _set_backlog(self, size: int) -> None:
        self._backlog_bytes = size
        metrics.BACKLOG.set(size)


# Every caller gets an exception of its own: a shared one would collect all their tracebacks.


def _in_doubt() -> LogUnavailableError:
    return LogUnavailableError(
        "the log did not confirm in time; the request may still take effect, repeat it with the "
        "same request id",
        retry_after_ms=_RETRY_HINT_MS,
    )


def _not_appended(why: str, reason: str | None = None) -> LogUnavailableError:
    return LogUnavailableError(
        f"nothing was written: {why}; try again later",
        reason=reason,
        retry_after_ms=_RETRY_HINT_MS,
    )


def _copy(error: FogError) -> FogError:
    return type(error)(error.message, reason=error.reason, retry_after_ms=error.retry_after_ms)
