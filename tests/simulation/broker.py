"""A broker in memory that talks as JetStream does, with all that can go wrong inside it.

It answers the requests of `fogbank.log.jetstream` (publish, stream info, single messages, push
consumers with heartbeats and flow control). `tests.simulation.connection` is the way there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.lookup import writer_of
from fogbank.log.port import MAX_CLOCK_OFFSET_US, StoredCommit, Writer
from fogbank.log.stream import StreamName
from fogbank.v1 import log_pb2
from tests.simulation.loop import Process
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.connection import SimConnection

STREAM = StreamName()
_HEARTBEAT_S = 1.0
# So many deliveries go out before the reader must say that it took them.
_FLOW_WINDOW = 128
_TRAVEL_US = 3_000_000
# JetStream's error codes.
_WRONG_LAST_SEQUENCE = 10071
_NO_MESSAGE = 10037
_NOT_NOW = 10008

Reply = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a client sees it."""

    subject: str
    data: bytes = b""
    reply: str = ""
    headers: dict[str, str] | None = None


class RefusedError(Exception):
    """The broker refuses a request."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.error = {"code": 400, "err_code": code, "description": description}


@dataclass(slots=True)
class Handle:
    """A writer's handle, for those who look at what it knows."""

    log: JetStreamLog
    process: Process

    @property
    def known(self) -> int:
        """The highest sequence that it saw."""
        last = self.log._guard.last
        return 0 if last is None else last.sequence


@dataclass(slots=True)
class Consumer:
    """Pushes the stream from a sequence on to one subject of one connection."""

    broker: Broker
    connection: SimConnection
    life: int
    subject: str
    next: int
    delivered: int = 0
    granted: int = _FLOW_WINDOW
    quiet: bool = True

    @property
    def gone(self) -> bool:
        """Whether nobody listens any more."""
        return not self.connection.listens(self.subject, self.life)

    def push(self) -> None:
        """Send what there is, as far as the reader lets it."""
        commits = self.broker.commits
        while self.next <= len(commits) and self.delivered < self.granted:
            commit = commits[self.next - 1]
            self.delivered += 1
            left = len(commits) - self.next
            reply = f"$JS.ACK.{STREAM.stream}.c.1.{self.next}.{self.delivered}.0.{left}"
            subject = STREAM.subject(commit.writer)
            if not self.broker.happens(self.broker.world.noise.push_lost):
                self._send(Message(subject, commit.data, reply))
            self.next += 1
            if self.delivered == self.granted:
                self._send(Message(self.subject, reply=self._flow, headers={"Status": "100"}))
        self.quiet = False

    @property
    def _flow(self) -> str:
        return f"$JS.FC.{self.subject}.{self.delivered}"

    def flow_on(self, subject: str) -> None:
        """Hear that the reader took what it was sent."""
        if subject == self._flow and self.delivered == self.granted:
            self.granted += _FLOW_WINDOW
            self.push()

    def beat(self) -> None:
        """Say each second that it lives, unless something was sent."""
        if self.gone:
            return
        if self.quiet:
            headers = {"Status": "100", "Nats-Last-Consumer": str(self.delivered)}
            if self.delivered == self.granted:
                headers["Nats-Consumer-Stalled"] = self._flow
            self._send(Message(self.subject, headers=headers))
        self.quiet = True
        self.broker.world.later(_HEARTBEAT_S, self.beat)

    def _send(self, message: Message) -> None:
        self.connection.push(self.subject, message)


@dataclass(slots=True)
class Broker:
    """The stored commits, and who is connected.

    `window_s` is how long a message id is known again. `bereft` are writers that saw commits
    which were lost: they must never write again.
    """

    world: World
    window_s: float
    commits: list[StoredCommit] = field(default_factory=list)
    up: bool = True
    connections: list[SimConnection] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    handles: list[Handle] = field(default_factory=list)
    bereft: dict[Writer, int] = field(default_factory=dict)
    _recent: dict[str, tuple[int, float]] = field(default_factory=dict)
    _random: Random = field(default_factory=Random)

    def __post_init__(self) -> None:
        """Draw from the seed."""
        self._random = self.world.chance("broker")

    # --- storing ------------------------------------------------------------------------------

    def store(
        self, writer: Writer, data: bytes, headers: dict[str, str], *, bereft: bool | None = None
    ) -> dict[str, Any]:
        """Store a commit and return the answer, the old one's if the message id came before.

        `bereft` tells whether its writer was when it was sent, if that isn't now.

        Raises:
            RefusedError: the expected last sequence is another one.
        """
        now_s = self.world.loop.time()
        message_id = headers["Nats-Msg-Id"]
        known = self._recent.get(message_id)
        if known is not None and now_s - known[1] < self.window_s:
            return {"stream": STREAM.stream, "seq": known[0], "duplicate": True}
        last = len(self.commits)
        expected = headers.get("Nats-Expected-Last-Sequence")
        if expected is not None and int(expected) != last:
            raise RefusedError(_WRONG_LAST_SEQUENCE, f"wrong last sequence: {last}")
        if bereft is None:
            bereft = writer in self.bereft
        if bereft:
            self.world.blunder(
                f"{writer.instance} saw commit {self.bereft[writer]} and appends at {last + 1}"
            )
        self._check_stamp(data, last + 1)
        self.commits.append(StoredCommit(last + 1, writer, data))
        self._recent[message_id] = (last + 1, now_s)
        self.world.tell(
            "broker", f"{last + 1} {writer.service}/{writer.instance} {message_id[:16]}"
        )
        self.consumers = [each for each in self.consumers if not each.gone]
        for consumer in self.consumers:
            consumer.push()
        return {"stream": STREAM.stream, "seq": last + 1}

    def _check_stamp(self, data: bytes, sequence: int) -> None:
        try:
            stamp_us = log_pb2.Commit.FromString(data).appended_at_us
        except DecodeError:  # a test of the log alone, which stores what it likes
            return
        ahead_us = stamp_us - self.world.now_us()
        if ahead_us > MAX_CLOCK_OFFSET_US + _TRAVEL_US:
            self.world.problem(f"commit {sequence} is stamped {ahead_us / 1e6:.1f} s ahead")

    # --- answering ----------------------------------------------------------------------------

    def serve(
        self,
        connection: SimConnection,
        subject: str,
        payload: bytes,
        headers: dict[str, str],
        reply: Reply,
    ) -> None:
        """Answer a request, or not, as chance has it."""
        if not self.up:
            return
        if subject.startswith("$JS.FC."):
            for consumer in tuple(self.consumers):
                consumer.flow_on(subject)
            return
        try:
            if subject.startswith(STREAM.prefix):
                self._publish(connection, subject, payload, headers, reply)
            else:
                reply(self._api(connection, subject, json.loads(payload or b"{}")))
        except RefusedError as refused:
            reply({"error": refused.error})

    def _publish(
        self,
        connection: SimConnection,
        subject: str,
        data: bytes,
        headers: dict[str, str],
        reply: Reply,
    ) -> None:
        world, noise, who = self.world, self.world.noise, connection.process.name
        writer = writer_of(STREAM, subject)
        if self.happens(noise.append_refused):
            world.fault("append refused", who)
            raise RefusedError(_NOT_NOW, "system temporarily unavailable")
        if self.happens(noise.append_lost):
            world.fault("append lost", who)
        elif self.happens(self._late(who)):
            world.fault("append late", who)
            delay_s, bereft = self._random.uniform(0.5, 25.0), writer in self.bereft
            world.later(delay_s, self._stored_late, writer, data, headers, bereft)
        elif self.happens(noise.ack_lost):
            self.store(writer, data, headers)
            world.fault("ack lost", who)
        else:
            reply(self.store(writer, data, headers))

    def _late(self, who: str) -> float:
        """Return how likely an append of a process comes late."""
        slow = who.rpartition(".")[0] in self.world.noise.late_writers
        return 0.6 if slow else self.world.noise.append_late

    def happens(self, likelihood: float) -> bool:
        """Draw whether something happens to one message."""
        return likelihood > 0 and self._random.random() < likelihood

    def _stored_late(
        self,
        writer: Writer,
        data: bytes,
        headers: dict[str, str],
        bereft: bool,
    ) -> None:
        if self.up:
            try:
                self.store(writer, data, headers, bereft=bereft)
            except RefusedError:
                self.world.tell("broker", f"refuses what came late from {writer.instance}")

    def _api(self, connection: SimConnection, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        match subject.removeprefix("$JS.API.").rpartition(".")[0]:
            case "STREAM.INFO":
                last = len(self.commits)
                state = {"first_seq": 1, "last_seq": last, "messages": last, "bytes": 0}
                config = {"name": STREAM.stream, "max_bytes": -1}
                return {"config": config, "state": state, "ts": self._instant()}
            case "STREAM.MSG.GET":
                return {"message": self._message(body)}
            case "CONSUMER.CREATE":
                config = body["config"]
                consumer = Consumer(
                    self,
                    connection,
                    connection.life,
                    config["deliver_subject"],
                    config["opt_start_seq"],
                )
                self.consumers.append(consumer)
                # What is there follows the answer to the request.
                self.world.loop.call_soon(consumer.push, context=self.world.nowhere)
                self.world.later(_HEARTBEAT_S, consumer.beat)
                return {"stream_name": STREAM.stream, "name": "c"}
            case other:
                raise RefusedError(_NOT_NOW, f"no such request: {other}")

    def _message(self, query: dict[str, Any]) -> dict[str, Any]:
        found = None
        if "seq" in query:
            if 1 <= query["seq"] <= len(self.commits):
                found = self.commits[query["seq"] - 1]
        else:
            wanted = writer_of(STREAM, query["last_by_subj"])
            found = next((each for each in reversed(self.commits) if each.writer == wanted), None)
        if found is None:
            raise RefusedError(_NO_MESSAGE, "no message found")
        return {
            "subject": STREAM.subject(found.writer),
            "seq": found.sequence,
            "data": base64.b64encode(found.data).decode(),
        }

    def _instant(self) -> str:
        since = timedelta(microseconds=self.world.now_us())
        return (datetime(1970, 1, 1, tzinfo=UTC) + since).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    # --- coming and going ---------------------------------------------------------------------

    def go_down(self, lose: int = 0) -> None:
        """End without warning; `lose` commits of the end were not on disk."""
        self.up = False
        if lose:
            del self.commits[-lose:]
            self._recent.clear()
            self.handles = [each for each in self.handles if each.process.alive]
            for handle in self.handles:
                if handle.known > len(self.commits):
                    self.bereft[handle.log.writer] = handle.known
        self.consumers.clear()
        self.connections = [each for each in self.connections if each.process.alive]
        for connection in tuple(self.connections):
            connection.broker_gone()

    def come_back(self) -> None:
        """Be there again; everybody reconnects."""
        self.up = True
        for connection in tuple(self.connections):
            connection.dial()
