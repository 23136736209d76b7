"""The log on JetStream: one stream per fleet and generation, one subject per writer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import nats.errors
import structlog

from fogbank.log.guard import WHAT_TO_DO, Guard
from fogbank.log.lookup import find_commit
from fogbank.log.ordered_consumer import OrderedReader
from fogbank.log.port import (
    MAX_COMMIT_BYTES,
    CommitTooLargeError,
    LogFullError,
    LogRewoundError,
    LogUnavailableError,
    StaleAppendError,
    StoredCommit,
    Writer,
)
from fogbank.log.stream import ApiError, StreamName, api_request, require_open
from fogbank.runtime.crash_points import crash_point

if TYPE_CHECKING:
    from fogbank.log.nats_connection import NatsConnection

_log = structlog.get_logger(__name__)

# An append gives up after this; a single try after that. The first request after a reconnect can
# hang, so tries are short.
_APPEND_DEADLINE_S = 5.0
_TRY_S = 1.0
_PAUSE_S = 0.05
_RETRY_HINT_MS = 1_000

# All of these mean "look whether my commit is there": another last sequence (single broker and
# cluster say it with different numbers), and a message id that is being stored already.
_LOOK = frozenset({10071, 10164, 10201})
_TOO_LARGE = frozenset({10054})


@dataclass(slots=True)
class _Attempt:
    """One commit on its way: `in_doubt` once a try went unanswered."""

    data: bytes
    digest: bytes
    expected_last: int | None
    in_doubt: bool = False


class JetStreamLog:
    """One writer's handle on a fleet's log; behaves as `fogbank.log.port.EventLog` says."""

    def __init__(
        self,
        connection: NatsConnection,
        name: StreamName,
        writer: Writer,
        *,
        append_deadline_s: float = _APPEND_DEADLINE_S,
    ) -> None:
        self._connection = connection
        self._name = name
        self._writer = writer
        self._subject = name.subject(writer)
        self._append_deadline_s = append_deadline_s
        self._one_at_a_time = asyncio.Lock()
        self._guard = Guard(self)
        connection.add_reconnect_listener(self._guard.distrust)

    @property
    def writer(self) -> Writer:
        return self._writer

    async def append(self, data: bytes, *, expected_last: int | None = None) -> int:
        if len(data) > MAX_COMMIT_BYTES:
            raise CommitTooLargeError(f"a commit of {len(data)} bytes exceeds {MAX_COMMIT_BYTES}")
        async with self._one_at_a_time:
            attempt = _Attempt(data, sha256(data).digest(), expected_last)
            try:
                async with asyncio.timeout(self._append_deadline_s):
                    sequence = await self._append(attempt)
            except TimeoutError:
                await self.require_open()
                raise LogUnavailableError(
                    "the log did not confirm the commit in time", retry_after_ms=_RETRY_HINT_MS
                ) from None
            self._guard.saw(StoredCommit(sequence, self._writer, data))
            return sequence

    async def _append(self, attempt: _Attempt) -> int:
        """Try until there is an answer; the caller's timeout ends it."""
        while True:
            try:
                # Nothing is sent into a client that is cut off: it would buffer the commit and
                # send it at a time when nobody waits for it any more.
                await self._connection.wait_connected(self._append_deadline_s)
                await self._guard.check()
                if attempt.in_doubt:
                    found = await self._look(attempt)
                    if found is not None:
                        return found
                return await self._publish(attempt)
            except (LogUnavailableError, nats.errors.Error, OSError) as error:
                attempt.in_doubt = True
                _log.debug("append in doubt", subject=self._subject, error=repr(error))
            await asyncio.sleep(_PAUSE_S)

    async def _publish(self, attempt: _Attempt) -> int:
        headers = {"Nats-Msg-Id": attempt.digest.hex()}
        if attempt.expected_last is not None:
            headers["Nats-Expected-Last-Sequence"] = str(attempt.expected_last)
        known = self._guard.last
        crash_point("log.before-publish")
        reply = await self._connection.request(
            self._subject, attempt.data, timeout_s=_TRY_S, headers=headers
        )
        crash_point("log.after-publish")
        answer: dict[str, Any] = json.loads(reply.data)
        error = answer.get("error")
        if error is None:
            sequence: int = answer["seq"]
            if known is not None and sequence <= known.sequence and not answer.get("duplicate"):
                raise LogRewoundError(
                    f"the log put a commit at {sequence} and had come to {known.sequence} before: "
                    f"acknowledged commits were lost; {WHAT_TO_DO}"
                )
            return sequence
        code, description = error.get("err_code", 0), error.get("description", "unknown error")
        if code in _LOOK:
            found = await self._look(attempt)
            if found is not None:
                return found
            if attempt.expected_last is not None:
                return await self._settle(attempt, attempt.expected_last, description)
        elif code in _TOO_LARGE:
            raise CommitTooLargeError(f"the broker refuses the commit: {description}")
        elif "maximum" in description:
            # Earlier tries that went unanswered, if there were any, meet the same limit.
            raise LogFullError(
                f"the log is full ({description}); raise the stream's max_bytes or begin a new "
                "generation",
                retry_after_ms=60_000,
            )
        raise LogUnavailableError(f"the broker refuses the commit for now: {description}")

    async def _look(self, attempt: _Attempt) -> int | None:
        """Return the commit's sequence if it is the last one of this writer.

        Only one append of a writer is under way at any time, so it can be nowhere else.
        """
        last = await find_commit(self._connection, self._name, {"last_by_subj": self._subject})
        if last is not None and last.digest == attempt.digest:
            _log.info("an unconfirmed commit is in the log", sequence=last.sequence)
            return last.sequence
        return None

    async def _settle(self, attempt: _Attempt, expected_last: int, description: str) -> int:
        """Decide what a refused condition means: somebody else was first, or we were ourselves.

        A cluster's leader refuses already while our own earlier try is still being replicated; so
        after an unanswered try only the commit in that place tells.
        """
        winner = await self.get(expected_last + 1)
        if winner is not None and winner.digest == attempt.digest:
            return winner.sequence
        if winner is None and attempt.in_doubt:
            raise LogUnavailableError("the broker is still at work on an earlier try")
        raise StaleAppendError(
            f"expected {expected_last} as last sequence; the broker says: {description}"
        )

    async def follow(self, after: int) -> AsyncGenerator[list[StoredCommit]]:
        last = self._guard.last
        held = last if last is not None and last.sequence == after else None
        reader = OrderedReader(self._connection, self._name, after, held)
        async with aclosing(reader.batches()) as batches:
            async for batch in batches:
                self._guard.saw(batch[-1])
                yield batch

    async def read(self, first: int, last: int) -> AsyncGenerator[list[StoredCommit]]:
        end = min(last, await self.last_sequence())
        first = max(first, 1)
        if first > end:
            return
        reader = OrderedReader(self._connection, self._name, first - 1)
        async with aclosing(reader.batches()) as batches:
            async for batch in batches:
                wanted = [commit for commit in batch if commit.sequence <= end]
                self._guard.saw(wanted[-1])
                yield wanted
                if wanted[-1].sequence == end:
                    return

    async def get(self, sequence: int) -> StoredCommit | None:
        return await find_commit(self._connection, self._name, {"seq": sequence})

    async def last_sequence(self) -> int:
        last: int = (await self._info())["state"]["last_seq"]
        return last

    async def clock_us(self) -> int:
        return _instant_us((await self._info())["ts"])

    async def fill_ratio(self) -> float:
        """Return how full the log is, 0 to 1; from 1 on appends are refused."""
        info = await self._info()
        used, most = info["state"]["bytes"], info["config"]["max_bytes"]
        return float(used / most) if most > 0 else 0.0  # -1 stands for no limit

    async def require_open(self) -> None:
        try:
            info = await api_request(
                self._connection, f"STREAM.INFO.{self._name.stream}", timeout_s=_TRY_S
            )
        except ApiError:
            # No stream, perhaps: the guard's to find.
            return
        require_open(self._name, info)

    def must_hold(self, sequence: int, digest: bytes) -> None:
        self._guard.must_hold(sequence, digest)

    async def _info(self) -> dict[str, Any]:
        try:
            return await api_request(
                self._connection, f"STREAM.INFO.{self._name.stream}", timeout_s=_TRY_S
            )
        except ApiError as error:
            raise LogUnavailableError(f"the broker cannot tell of the stream: {error}") from error


def _instant_us(text: str) -> int:
    """Return an RFC 3339 instant with up to nanoseconds as microseconds since 1970."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000 + int(fraction[:6].ljust(6, "0"))
