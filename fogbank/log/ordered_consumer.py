"""Reading the stream from a position on, in order and without gaps, as fast as the broker pushes.

An ephemeral push consumer without acknowledgements, with heartbeats and flow control. Whenever
there is doubt (a number skipped, heartbeats missing, a reconnect) it is thrown away and a new one
begins behind the last commit that was handed out. Nothing here polls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import nats.errors
import structlog

from fogbank.log.guard import WHAT_TO_DO, known, require_held
from fogbank.log.lookup import find_commit, writer_of
from fogbank.log.port import (
    MAX_BATCH_BYTES,
    MAX_BATCH_COMMITS,
    LogGapError,
    LogRewoundError,
    LogUnavailableError,
    StoredCommit,
    Writer,
)
from fogbank.log.stream import NO_SUCH_STREAM, ApiError, StreamName, api_request, require_open
from fogbank.runtime.crash_points import crash_point

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from fogbank.log.nats_connection import NatsConnection

_log = structlog.get_logger(__name__)

_NANOS = 1_000_000_000
_HEARTBEAT_S = 1.0
# Without a sign of life for this long the consumer counts as dead.
_SILENCE_S = 3.5 * _HEARTBEAT_S
# So many heartbeats without a commit that is due, and the commit itself is looked for: a broker
# that can't read its store any more says so in its own log only.
_MOST_HEARTBEATS = 3
# The broker forgets a consumer that nobody listens to after this long.
_FORGOTTEN_AFTER_S = 10
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class _Renew(Exception):
    """This consumer is no longer to be trusted; go on with another."""


class _OverdueError(Exception):
    """The consumer lives, and what is in the log doesn't come."""


class _FlowControl(str):
    """A subject to answer once everything before it was taken."""

    __slots__ = ()


_DOUBT: Final = object()


class _Inbox:
    """What one consumer has delivered and nobody took yet. Each consumer has its own."""

    def __init__(self) -> None:
        self.arrived: deque[Msg | _FlowControl | object] = deque()
        self.news = asyncio.Event()
        self._seen = 0  # how many commits arrived

    async def on_message(self, message: Msg) -> None:
        """Put one message where the reader finds it. Called for each, so it is short."""
        headers = message.headers
        if headers is not None and "Status" in headers:
            self._on_status(message, headers)
        else:
            self._seen += 1
            self.arrived.append(message)
        self.news.set()

    def _on_status(self, message: Msg, headers: dict[str, str]) -> None:
        if message.reply:
            self.arrived.append(_FlowControl(message.reply))
            return
        if stalled := headers.get("Nats-Consumer-Stalled"):
            self.arrived.append(_FlowControl(stalled))
        last = headers.get("Nats-Last-Consumer")
        if last is not None and int(last) != self._seen:
            self.doubt()

    def doubt(self) -> None:
        """Note that what comes after this may lack something."""
        self.arrived.append(_DOUBT)
        self.news.set()

    async def wait(self, *, something_is_due: bool) -> None:
        """Wait until something arrived; a heartbeat is a sign of life, not news.

        Raises:
            _Renew: no sign of life for too long.
            _OverdueError: signs of life only, and something is due.
        """
        heartbeats = 0
        while not self.arrived:
            if something_is_due and heartbeats > _MOST_HEARTBEATS:
                raise _OverdueError
            heartbeats += 1
            self.news.clear()
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await self.news.wait()
            except TimeoutError:
                raise _Renew("no heartbeat") from None


class OrderedReader:
    """Reads one stream on one connection. `batches` may run once per reader.

    `held` is the commit at `after`, if it is known: the log must still hold it.
    """

    def __init__(
        self,
        connection: NatsConnection,
        name: StreamName,
        after: int,
        held: StoredCommit | None = None,
        *,
        even_closed: bool = False,
    ) -> None:
        self._connection = connection
        self._name = name
        self._position = after
        self._held = held
        self._even_closed = even_closed
        # Where the log ended when the consumer was made: so far it must come.
        self._due = after
        self._inbox = _Inbox()
        self._subscription: Subscription | None = None
        self._taken = 0  # consumer sequence of the last commit that was handed out
        self._writers: dict[str, Writer] = {}

    async def batches(self) -> AsyncGenerator[list[StoredCommit]]:
        """Yield batches for ever, see `EventLog.follow`."""
        with self._connection.on_reconnect(self._doubt):
            try:
                while True:
                    await self._open()
                    try:
                        while True:
                            batch = await self._take()
                            if batch:
                                yield batch
                    except _Renew as reason:
                        _log.info(
                            "reading on with a new consumer",
                            stream=self._name.stream,
                            after=self._position,
                            reason=str(reason),
                        )
            finally:
                await self._close()

    async def _open(self) -> None:
        """Begin a consumer behind the position; tries until it works."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._try_to_open()
                return
            except (ApiError, LogUnavailableError, nats.errors.Error, OSError) as error:
                if isinstance(error, ApiError) and error.code == NO_SUCH_STREAM and self._position:
                    raise LogRewoundError(
                        f"the broker has no stream {self._name.stream} any more, of which "
                        f"{self._position} commits were read: its store was replaced or emptied; "
                        f"{WHAT_TO_DO}"
                    ) from error
                _log.info("cannot read the log yet", stream=self._name.stream, error=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _try_to_open(self) -> None:
        await self._close()
        info = await api_request(self._connection, f"STREAM.INFO.{self._name.stream}")
        if not self._even_closed:
            require_open(self._name, info)
        first, last = info["state"]["first_seq"], info["state"]["last_seq"]
        self._due = last
        if self._position > last:
            raise LogRewoundError(
                f"the log ends at {last}, before {self._position}, which was read already: "
                f"acknowledged commits were lost; {WHAT_TO_DO}"
            )
        if self._held is not None:
            await require_held(self, known(self._held))
        if first > self._position + 1 and last >= first:
            raise LogGapError(
                f"the log begins at {first}, commits {self._position + 1} to {first - 1} are "
                "elsewhere (an earlier generation?)",
                self._position + 1,
            )
        self._inbox = _Inbox()
        self._taken = 0
        subject = self._connection.client.new_inbox()
        # No limits here: the broker's flow control holds it back until `_take` answers.
        self._subscription = await self._connection.client.subscribe(
            subject, cb=self._inbox.on_message, pending_msgs_limit=0, pending_bytes_limit=0
        )
        config = {
            "deliver_subject": subject,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._position + 1,
            "ack_policy": "none",
            "max_deliver": 1,
            "replay_policy": "instant",
            "flow_control": True,
            "idle_heartbeat": int(_HEARTBEAT_S * _NANOS),
            "inactive_threshold": _FORGOTTEN_AFTER_S * _NANOS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        await api_request(
            self._connection,
            f"CONSUMER.CREATE.{self._name.stream}",
            {"stream_name": self._name.stream, "config": config},
        )
        crash_point("log.after-consumer")

    async def _close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            # A closed connection has no subscriptions left.
            with suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    def _doubt(self) -> None:
        self._inbox.doubt()

    async def _take(self) -> list[StoredCommit]:
        """Return what has arrived, waiting for the next news if that is nothing.

        Raises:
            _Renew: the consumer must be replaced.
            LogGapError: the stream itself skips a sequence.
        """
        try:
            await self._inbox.wait(something_is_due=self._position < self._due)
        except _OverdueError:
            await self._require_next()
            return []
        arrived = self._inbox.arrived
        batch: list[StoredCommit] = []
        size = 0
        while arrived and len(batch) < MAX_BATCH_COMMITS and size < MAX_BATCH_BYTES:
            item = arrived[0]
            if item is _DOUBT or isinstance(item, _FlowControl):
                if batch:
                    break  # hand out what is certain first: answering may fail
                arrived.popleft()
                await self._answer(item)
                continue
            try:
                commit = self._checked(item)  # type: ignore[arg-type]
            except (_Renew, LogGapError):
                if batch:
                    break  # as above; the next look finds it again
                raise
            arrived.popleft()
            batch.append(commit)
            size += len(commit.data)
        return batch

    async def _require_next(self) -> None:
        """Return if the broker can show the next commit: then it is only slow."""
        try:
            found = await self.get(self._position + 1)
        except LogUnavailableError as error:
            raise _Renew(error.message) from error
        if found is None:
            raise LogGapError(
                f"the log goes on to {self._due} and the broker cannot show commit "
                f"{self._position + 1}: its store is damaged; {WHAT_TO_DO}",
                self._position + 1,
            )

    async def _answer(self, item: object) -> None:
        if item is _DOUBT:
            raise _Renew("reconnected, or messages were skipped")
        # Without leave to answer, the broker would hold back for ever what comes next.
        self._connection.check_may_publish("$JS.FC.")
        try:
            await self._connection.client.publish(str(item))
        except (nats.errors.Error, OSError) as error:
            raise _Renew(f"flow control failed: {error!r}") from error

    def _checked(self, message: Msg) -> StoredCommit:
        """Return the message as a commit if it is the very next one."""
        sequence, consumer_sequence = _numbers(message.reply)
        if consumer_sequence != self._taken + 1:
            raise _Renew(f"delivery {consumer_sequence} came after {self._taken}")
        if sequence != self._position + 1:
            raise LogGapError(
                f"the log lost commit {self._position + 1}: the next one that the broker shows is "
                f"{sequence}; {WHAT_TO_DO}",
                self._position + 1,
            )
        self._taken = consumer_sequence
        self._position = sequence
        subject = message.subject
        writer = self._writers.get(subject)
        if writer is None:
            writer = self._writers[subject] = writer_of(self._name, subject)
        self._held = StoredCommit(sequence, writer, message.data)
        return self._held

    async def get(self, sequence: int) -> StoredCommit | None:
        """Return one commit of the stream, for the guard."""
        return await find_commit(self._connection, self._name, {"seq": sequence})

    async def last_sequence(self) -> int:
        """Return where the stream ends, for the guard."""
        try:
            info = await api_request(self._connection, f"STREAM.INFO.{self._name.stream}")
        except ApiError as error:
            raise LogUnavailableError(f"the broker cannot tell of the stream: {error}") from error
        last: int = info["state"]["last_seq"]
        return last


# `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>`; a broker
# with domains puts two more tokens behind ACK.
_SHORT_TOKENS = 9
_SHORT_AT = 5
_LONG_AT = 7


def _numbers(reply: str) -> tuple[int, int]:
    """Return a delivery's sequence in the stream and in the consumer."""
    tokens = reply.split(".")
    at = _SHORT_AT if len(tokens) == _SHORT_TOKENS else _LONG_AT
    return int(tokens[at]), int(tokens[at + 1])
