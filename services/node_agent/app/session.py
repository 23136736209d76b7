"""Keeps one stream open: dials the gateways in turn, patiently and with jitter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import structlog

from fogbank.domain.node import Fingerprint
from services.node_agent.app.figures import STREAM_FAILURES, STREAMS
from services.node_agent.app.ports import GatewayError, Gateways, GatewayStream
from services.node_agent.core.effects import Outgoing
from services.node_agent.core.stimuli import Stimulus, StreamClosed, StreamOpened, Welcomed

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between two dials: the first pause, the longest, and how long a Welcome may take."""

    first_s: float = 0.2
    longest_s: float = 10.0
    welcome_s: float = 15.0

    def pause_s(self, failures: int, random: Random) -> float:
        """Return the pause after so many failures in a row; the upper half of it is chance."""
        full = min(self.longest_s, self.first_s * 2.0 ** min(failures, 30))
        return full * random.uniform(0.5, 1.0)


class Session:
    """The connection of one node, whichever gateway it leads to."""

    def __init__(
        self,
        gateways: Gateways,
        node_id: str,
        name: str,
        *,
        fingerprint: Callable[[], Fingerprint],
        post: Callable[[Stimulus], None],
        backoff: Backoff,
        random: Random,
    ) -> None:
        self._gateways = gateways
        self._node_id = node_id
        self._name = name
        self._fingerprint = fingerprint
        self._post = post
        self._backoff = backoff
        self._random = random
        self._log = _log.bind(node=name)
        self._number = 0
        self._stream: GatewayStream | None = None
        self._redial_now = False
        self._failures = 0

    def send(self, stream: int, message: Outgoing) -> None:
        """Send on that stream; drop the message if it is gone."""
        if self._stream is not None and stream == self._number:
            self._stream.send(message)

    def close(self, stream: int, reason: str, *, redial_now: bool) -> None:
        """Close that stream if it is still open."""
        if self._stream is not None and stream == self._number:
            self._log.info("closing stream", reason=reason)
            self._redial_now = redial_now
            self._stream.close()

    async def run(self) -> None:
        """Dial, talk, and dial the next gateway, forever."""
        # Nodes begin at different gateways, so that these share the load.
        address = self._random.randrange(self._gateways.count)
        while True:
            self._redial_now = False
            refused = await self._talk(address)
            address = (address + 1) % self._gateways.count
            failures = 0 if self._redial_now else self._failures
            if refused:
                failures = 30
            await asyncio.sleep(self._backoff.pause_s(failures, self._random))
            self._failures += 1

    async def _talk(self, address: int) -> bool:
        """Hold one stream until it ends; tell whether the gateway refused the node."""
        welcomed = False
        try:
            async with (
                asyncio.timeout(self._backoff.welcome_s) as patience,
                self._gateways.open(address, self._node_id, self._name) as stream,
            ):
                self._number += 1
                self._stream = stream
                self._post(StreamOpened(self._number, self._fingerprint()))
                async for message in stream.messages():
                    if isinstance(message, Welcomed):
                        patience.reschedule(None)
                        self._failures = 0
                        if not welcomed:
                            welcomed = True
                            STREAMS.inc()
                        self._log.info("connected", gateway=address, epoch=message.epoch)
                    self._post(message)
            self._log.info("stream ended", gateway=address)
        except GatewayError as error:
            STREAM_FAILURES.inc()
            # Once per outage is worth an operator's attention, the tries after it aren't.
            level = self._log.warning if self._failures == 0 else self._log.debug
            level("stream failed", gateway=address, reason=str(error))
            return error.refused
        except TimeoutError:
            STREAM_FAILURES.inc()
            self._log.warning("stream failed", gateway=address, reason="no Welcome in time")
        finally:
            if welcomed:
                STREAMS.dec()
            self._stream = None
            self._post(StreamClosed())
        return False
