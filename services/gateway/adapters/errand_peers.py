"""Errands between gateways, over the broker.

On `fogbank.errands.<fleet>.` there are three kinds of subjects:

- `node.<node id>`: where the gateway that has a node's stream is told to send its agent on an
  errand. The broker knows who listens, so nobody is asked in vain, and answers at once if nobody
  does.
- `for.<errand id>`: where the gateway at which a user waits listens. The gateway that the agent
  calls to bring something offers that here, and sends it piece by piece once it is wanted.
- `by.<bringing id>`: where the gateway that the agent called hears whether and how much of it is
  wanted. A piece is sent only when there is room for it, so a slow user holds the agent back
  and nothing piles up at the broker.

Each message is sealed with a key that only gateways have, for its own subject alone: nobody else
who gets at the broker can read what containers say, or send agents. Nothing is stored or sent
again. What is lost shows by its number, who is gone by silence or by the broker's word; either
ends the errand with an error, never with a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar
from uuid import uuid4

import nats.errors
import structlog
from google.protobuf.message import DecodeError, Message
from nats.aio.client import NO_RESPONDERS_STATUS
from nats.aio.msg import Msg
from prometheus_client import Counter, Gauge

from fogbank.codec.errands import brought_from_pb, brought_to_pb, errand_from_pb, errand_to_pb
from fogbank.domain.errands import Brought, Errand
from fogbank.domain.errors import FogError, NotFoundError, UnavailableError
from fogbank.domain.ids import canonical_uuid
from fogbank.log.nats_connection import NatsConnection
from fogbank.v1 import agent_service_pb2 as pb
from services.gateway.adapters.sealing import BrokenSealError, Seal
from services.gateway.app.deliveries import PIECES, Delivery, Taker, cut_off

_log = structlog.get_logger(__name__)

_PASSED_ON = Gauge(
    "fog_gateway_errands_passed_on", "Errands brought to this gateway for users of another one."
)
_CUT_OFF = Counter(
    "fog_gateway_errands_cut_off", "Errands that another gateway began to pass on and did not end."
)

_BEAT_S = 2.0
# So many of one's own signs of life go unanswered before the other side counts as gone.
_BEATS_UNANSWERED = 3
_ANSWER_S = 5.0
# Who is not there may be in a moment: an agent that looks for another gateway, one of which the
# broker was not told yet, or a user whose errand was faster at the agent than the broker is told.
_TRIES = 5
_TRY_AGAIN_S = 0.2
# Well below what the broker takes; agents bring less at a time.
_MOST_BYTES = 64 * 1024
_RETRY_HINT_MS = 1_000

M = TypeVar("M", bound=Message)


class NatsPeers:
    """Behaves as `app.deliveries.Peers` says.

    The connection should be one of its own: what containers write must not hold up the log.
    """

    def __init__(self, connection: NatsConnection, fleet: str, sealing_key: str) -> None:
        self._wire = _Wire(connection, fleet, Seal(sealing_key, "errand"))
        self._awaited: dict[str, _Awaited] = {}

    @asynccontextmanager
    async def reachable(
        self, node_id: str, send: Callable[[Errand], object]
    ) -> AsyncIterator[None]:
        async def take(message: pb.Errand | None) -> None:
            errand = errand_from_pb(message) if message is not None else None
            if errand is not None:
                send(errand)

        async with self._wire.heard(f"node.{node_id}", pb.Errand, take):
            yield

    @asynccontextmanager
    async def awaiting(self, errand_id: str, delivery: Delivery) -> AsyncIterator[None]:
        awaited = self._awaited[errand_id] = _Awaited(self._wire, errand_id, delivery)
        async with self._wire.heard(f"for.{errand_id}", pb.BroughtErrand, awaited.take):
            try:
                yield
            finally:
                del self._awaited[errand_id]
                await awaited.close()

    async def send(self, errand: Errand) -> None:
        await self._awaited[errand.errand_id].send(errand)

    @asynccontextmanager
    async def offered(self, errand_id: str) -> AsyncIterator[Taker]:
        # It comes from an agent, and goes into a subject.
        if canonical_uuid(errand_id) != errand_id:
            raise _nobody_waits()
        offer = _Offer(self._wire, errand_id)
        async with self._wire.heard(f"by.{offer.bringing_id}", pb.WantedErrand, offer.take):
            if not await offer.is_wanted():
                raise _nobody_waits()
            with _PASSED_ON.track_inprogress():
                beating = asyncio.create_task(offer.beat())
                try:
                    yield offer
                finally:
                    beating.cancel()
                    await offer.close()


class _Wire:
    """Sealed messages on the broker; subjects are without what all have in common."""

    def __init__(self, connection: NatsConnection, fleet: str, seal: Seal) -> None:
        self._connection = connection
        self._prefix = f"fogbank.errands.{fleet}."
        self._seal = seal

    async def say(self, subject: str, message: Message, answers: str = "") -> bool:
        """Send a message; False if the broker is out of reach.

        If nobody listens there, the broker says so on the subject for `answers`.
        """
        if not self._connection.is_connected:
            # The client would keep it and send it late, when nobody waits for it any more.
            return False
        full = self._prefix + subject
        sealed = self._seal.close(message.SerializeToString(), full.encode())
        reply = self._prefix + answers if answers else ""
        try:
            await self._connection.client.publish(full, sealed, reply=reply)
        except (nats.errors.Error, OSError) as error:
            _log.debug("news of an errand not sent", subject=full, error=repr(error))
            return False
        return True

    @asynccontextmanager
    async def heard(
        self, subject: str, kind: type[M], take: Callable[[M | None], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Call `take` with each message on a subject while the context lasts.

        And with None whenever nobody listened to what was said with this subject for answers.
        Without a connection nothing is heard until the client has one again.
        """
        full = self._prefix + subject

        async def received(message: Msg) -> None:
            if message.headers and message.headers.get("Status") == NO_RESPONDERS_STATUS:
                await take(None)
                return
            try:
                opened = kind.FromString(self._seal.open(message.data, full.encode()))
            except (BrokenSealError, DecodeError):
                _log.warning(
                    "news of an errand that do not open: have all gateways one FOG_SEALING_KEY?",
                    subject=full,
                )
                return
            await take(opened)

        subscription = None
        try:
            subscription = await self._connection.client.subscribe(full, cb=received)
        except (nats.errors.Error, OSError) as error:
            # Errands of nodes whose streams are here work without.
            _log.warning("errands of other gateways not heard", subject=full, error=repr(error))
        try:
            yield
        finally:
            if subscription is not None:
                with suppress(nats.errors.Error, OSError):
                    await subscription.unsubscribe()


class _Awaited:
    """An errand of a user here: takes what another gateway has for it, if one offers that."""

    def __init__(self, wire: _Wire, errand_id: str, delivery: Delivery) -> None:
        self._wire = wire
        self._errand_id = errand_id
        self._delivery = delivery
        self._errand: Errand | None = None
        self._tries = 0
        self._bringing_id = ""
        # Never more than were said to be wanted.
        self._news: asyncio.Queue[Brought | FogError | None] = asyncio.Queue()
        self._number = 0
        self._up_to = PIECES
        self._unanswered = 0
        self._task: asyncio.Task[None] | None = None

    async def send(self, errand: Errand) -> None:
        """Have the agent sent by the gateway that has its stream."""
        self._errand = errand
        self._tries += 1
        subject, answers = f"node.{self._delivery.node_id}", f"for.{self._errand_id}"
        if not await self._wire.say(subject, errand_to_pb(errand), answers):
            self._delivery.refuse(_no_broker())

    async def take(self, brought: pb.BroughtErrand | None) -> None:
        """Hear an offer, a piece, or a sign of life; or that nobody hears what is said."""
        if brought is None:
            await self._unheard()
        elif brought.bringing_id == self._bringing_id:
            self._hear(brought)
        elif brought.number == 0 and self._delivery.begin():
            self._bringing_id = brought.bringing_id
            self._task = asyncio.create_task(self._hand_on(), name=f"errand:{self._errand_id}")
        else:
            await self._wire.say(f"by.{brought.bringing_id}", pb.WantedErrand(unwanted=True))

    async def close(self) -> None:
        """Take no more, and say so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._wire.say(f"by.{self._bringing_id}", pb.WantedErrand(unwanted=True))

    async def _unheard(self) -> None:
        if self._bringing_id:
            self._news.put_nowait(cut_off())
        elif self._errand is not None and self._tries < _TRIES:
            await asyncio.sleep(_TRY_AGAIN_S)
            await self.send(self._errand)
        else:
            self._delivery.refuse(_not_connected())

    def _hear(self, brought: pb.BroughtErrand) -> None:
        self._unanswered = 0
        kind = brought.WhichOneof("news")
        self._number += kind is not None
        piece = brought_from_pb(brought.piece) if kind == "piece" else None
        missing = brought.number != self._number
        if missing or kind == "cut_off" or (kind == "piece" and self._number > self._up_to):
            self._news.put_nowait(cut_off())
        elif kind is not None:
            self._news.put_nowait(piece)

    async def _hand_on(self) -> None:
        """Hand the user all that comes, and ask for more as it is taken."""
        beating = asyncio.create_task(self._beat())
        handed = 0
        try:
            await self._say()
            while isinstance(piece := await self._news.get(), Brought):
                if not await self._delivery.put(piece):
                    return
                handed += 1
                self._up_to = handed + PIECES
                if handed % (PIECES // 2) == 0:
                    await self._say()
            if piece is not None:
                _CUT_OFF.inc()
            await self._delivery.put(piece)
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            if self._unanswered >= _BEATS_UNANSWERED:
                self._news.put_nowait(cut_off())
                return
            self._unanswered += 1
            await self._say()

    async def _say(self) -> None:
        wanted = pb.WantedErrand(node_id=self._delivery.node_id, up_to=self._up_to)
        await self._wire.say(f"by.{self._bringing_id}", wanted, f"for.{self._errand_id}")


class _Offer:
    """The `Taker` of an errand whose user waits at another gateway."""

    def __init__(self, wire: _Wire, errand_id: str) -> None:
        self.bringing_id = str(uuid4())
        self._wire = wire
        self._errand_id = errand_id
        self._node_id = ""
        self._number = self._up_to = 0
        self._over = False
        self._unanswered = 0
        self._heard = asyncio.Event()
        self._unwanted = asyncio.Event()

    @property
    def node_id(self) -> str:
        return self._node_id

    async def is_wanted(self) -> bool:
        """Offer it; tell whether a gateway wants it, whose user waits for it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                for _ in range(_TRIES):
                    await self._say()
                    await self._heard.wait()
                    if self._node_id or self._unwanted.is_set():
                        break
                    self._heard.clear()
                    await asyncio.sleep(_TRY_AGAIN_S)
        return bool(self._node_id)

    async def take(self, wanted: pb.WantedErrand | None) -> None:
        """Hear how much is wanted; or that nobody hears what is said."""
        self._unanswered = 0
        if wanted is not None and not wanted.unwanted:
            self._node_id = wanted.node_id
            self._up_to = wanted.up_to
        elif wanted is not None or self._node_id:
            self._unwanted.set()
        self._heard.set()

    async def unwanted(self) -> None:
        await self._unwanted.wait()

    async def put(self, piece: Brought | FogError | None) -> bool:
        if isinstance(piece, Brought):
            for part in _parts(piece):
                await self._room()
                await self._tell(piece=brought_to_pb(part))
        else:
            self._over = True
            await self._tell(**({"complete": True} if piece is None else {"cut_off": True}))
        return not self._unwanted.is_set()

    async def beat(self) -> None:
        """Give signs of life, and look out for those of the other side."""
        while True:
            await asyncio.sleep(_BEAT_S)
            if self._unanswered >= _BEATS_UNANSWERED:
                self._end()
                return
            self._unanswered += 1
            await self._say()

    async def close(self) -> None:
        """Say that no more comes, unless that was said."""
        if not self._over:
            await self.put(cut_off())

    def _end(self) -> None:
        self._unwanted.set()
        self._heard.set()

    async def _room(self) -> None:
        while self._number >= self._up_to and not self._unwanted.is_set():
            self._heard.clear()
            await self._heard.wait()

    async def _tell(self, **news: Any) -> None:
        if not self._unwanted.is_set():
            self._number += 1
            await self._say(**news)

    async def _say(self, **news: Any) -> None:
        brought = pb.BroughtErrand(bringing_id=self.bringing_id, number=self._number, **news)
        answers = f"by.{self.bringing_id}"
        if not await self._wire.say(f"for.{self._errand_id}", brought, answers):
            self._end()


def _parts(piece: Brought) -> Iterator[Brought]:
    """Cut a piece so that a message can hold it."""
    yield replace(piece, data=piece.data[:_MOST_BYTES])
    for first in range(_MOST_BYTES, len(piece.data), _MOST_BYTES):
        yield replace(piece, data=piece.data[first : first + _MOST_BYTES])


def _nobody_waits() -> NotFoundError:
    return NotFoundError("nobody waits for that", reason="NO_SUCH_ERRAND")


def _no_broker() -> UnavailableError:
    return UnavailableError(
        "its node is not connected to this gateway, and the broker, over which the others are "
        "asked, is out of reach",
        reason="LOG_UNAVAILABLE",
        retry_after_ms=_RETRY_HINT_MS,
    )


def _not_connected() -> UnavailableError:
    return UnavailableError(
        "its node is connected to no gateway: it is offline, or comes back in a moment",
        reason="NODE_NOT_CONNECTED",
        retry_after_ms=_RETRY_HINT_MS,
    )
