"""Keeps one stream open: dials the gateways in turn, patiently and with jitter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import structlog

from fogbank.domain.errands import Errand
from fogbank.runtime.crash_points import crash_point
from services.node_agent.app.figures import STREAM_FAILURES, STREAMS
from services.node_agent.app.ports import GatewayError, Gateways, GatewayStream, Host
from services.node_agent.core.effects import Outgoing
from services.node_agent.core.stimuli import (
    NodeRemoved,
    Stimulus,
    StreamClosed,
    StreamOpened,
    Welcomed,
)

_log = structlog.get_logger(__name__)

# So many failures lead to the longest pause, whatever the first one is.
_MANY = 30
# How often the time for a Welcome is doubled at most.
_DOUBLINGS = 2


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between two dials: the first pause, the longest, and how long a Welcome may take."""

    first_s: float = 0.2
    longest_s: float = 10.0
    welcome_s: float = 15.0

    def patience_s(self, failures: int) -> float:
        """Return how long a Welcome may take after so many failures in a row.

        It grows: a gateway that a whole fleet calls at once must not do each handshake in vain
        because its agent has given up and called again.
        """
        return self.welcome_s * 2.0 ** min(failures, _DOUBLINGS)

    def pause_s(
        self,
        failures: int,
        random: Random,
        heartbeat_period_s: float = 0,
        asked_for_s: float = 0,
    ) -> float:
        """Return the pause after so many failures in a row; the upper half of it is chance.

        A gateway that sent its agents away asked for a pause; they come back after one to two of
        it, not all at once.

        It stays below half a heartbeat's period, if that is known: a gateway that was away for a
        moment must not make the node look silent. The period grows with the fleet, and so does
        the pause, so a large fleet doesn't storm a gateway either.
        """
        longest = self.longest_s
        if heartbeat_period_s:
            longest = min(longest, max(self.first_s, heartbeat_period_s / 2))
        full = min(longest, self.first_s * 2.0 ** min(failures, _MANY))
        return max(full, 2 * asked_for_s) * random.uniform(0.5, 1.0)


class Session:
    """The connection of one node, whichever gateway it leads to."""

    def __init__(
        self,
        gateways: Gateways,
        node_id: str,
        name: str,
        *,
        host: Host,
        post: Callable[[Stimulus], None],
        run: Callable[[Errand, int], None],
        backoff: Backoff,
        random: Random,
    ) -> None:
        self._gateways = gateways
        self._node_id = node_id
        self._name = name
        self._host = host
        self._post = post
        self._run = run
        self._backoff = backoff
        self._random = random
        self._log = _log.bind(node=name)
        self._number = 0
        self._stream: GatewayStream | None = None
        self._redial_now = False
        self._failures = 0
        self._heartbeat_period_s = 0.0

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
            error = await self._talk(address)
            address = (address + 1) % self._gateways.count
            await asyncio.sleep(self._pause_s(error))
            self._failures += 1

    def _pause_s(self, error: GatewayError | None) -> float:
        if error is not None and error.refused:
            return self._backoff.pause_s(_MANY, self._random)
        failures = 0 if self._redial_now else self._failures
        asked_for_s = error.retry_after_s if error is not None else 0.0
        return self._backoff.pause_s(failures, self._random, self._heartbeat_period_s, asked_for_s)

    async def _talk(self, address: int) -> GatewayError | None:
        """Hold one stream until it ends; return the gateway's error if that ended it."""
        welcomed = False
        crash_point("agent.before-dial")
        try:
            async with (
                asyncio.timeout(self._backoff.patience_s(self._failures)) as patience,
                self._gateways.open(address, self._node_id, self._name) as stream,
            ):
                self._number += 1
                self._stream = stream
                host = self._host
                self._post(StreamOpened(self._number, host.fingerprint(), host.details()))
                async for message in stream.messages():
                    crash_point("agent.before-message")
                    if isinstance(message, Errand):
                        self._run(message, address)
                        continue
                    if isinstance(message, Welcomed):
                        patience.reschedule(None)
                        self._failures = 0
                        self._heartbeat_period_s = message.heartbeat_period_ms / 1000
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
            if error.removed:
                self._post(NodeRemoved())
            return error
        except TimeoutError:
            STREAM_FAILURES.inc()
            self._log.warning("stream failed", gateway=address, reason="no Welcome in time")
        finally:
            if welcomed:
                STREAMS.dec()
            self._stream = None
            self._post(StreamClosed())
        return None
