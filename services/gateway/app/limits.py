"""What one caller may ask for in a span of time, so that none slows the others down.

Who is signed in is limited by who it is, everybody else by the address they call from. Each gateway
counts for itself. Reading a deployment's status as it is now is never limited: clients poll it, and
it costs a look into memory or into the ledger's tables. For ids that nobody knows the log is asked
how far it goes, once for all who ask at the same time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from fogbank.domain.errors import FogError, ResourceExhaustedError, UnauthenticatedError
from fogbank.runtime.clock import Clock
from services.gateway.app.principal import Principal
from services.gateway.app.turns import steady_us, turn_of
from services.gateway.core.rates import Rate

_BURST_S = 2
_MINUTE_S = 60
# A host has all of a /64 of IPv6 to itself.
_HOST_BITS = 64
# How much oftener a name may be tried from anywhere than from one address. It is the bound for
# those who guess from many addresses, and must not be an easy way to lock somebody out.
_ANYWHERE = 10
# So many attempts of one name wait for others that are not answered yet.
_MOST_WAITING = 100
# So many rows of a list are as much work as a request.
_ROWS = 20


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much callers get: requests a second, failed sign-ins a minute, streams at once.

    `anonymous_streams` are those of one address without a token.
    """

    requests_per_second: float = 500
    anonymous_requests_per_second: float = 50
    failed_sign_ins_per_minute: float = 10
    streams: int = 1_000
    anonymous_streams: int = 100


class _Attempts:
    """Attempts to sign in by one name: all, those looked into, and when one of those is answered.

    The others wait.
    """

    def __init__(self) -> None:
        self.all = 0
        self.in_hand = 0
        self.answered = asyncio.Event()

    @contextmanager
    def looked_into(self) -> Iterator[None]:
        """Be one that is looked into while the context lasts; those that wait look again then."""
        self.in_hand += 1
        try:
            yield
        finally:
            self.in_hand -= 1
            self.answered.set()
            self.answered = asyncio.Event()


class Limits:
    """Counts, and raises ResourceExhaustedError with a hint when it is too much."""

    def __init__(self, clock: Clock, allowance: Allowance) -> None:
        self._clock = clock
        self._subjects = _rate(allowance.requests_per_second)
        self._addresses = _rate(allowance.anonymous_requests_per_second)
        self._names_here = _a_minute(allowance.failed_sign_ins_per_minute)
        self._names = _a_minute(allowance.failed_sign_ins_per_minute * _ANYWHERE)
        self._attempts: dict[str, _Attempts] = {}
        self._most_streams = allowance.streams
        self._most_anonymous_streams = allowance.anonymous_streams
        self._streams: Counter[str] = Counter()

    def request(self, principal: Principal) -> None:
        """Count a request of somebody who is signed in."""
        wait_us = self._subjects.take(principal.user_id, steady_us(self._clock))
        _refuse_for(wait_us, "Too many requests")

    def more(self, principal: Principal, count: int) -> None:
        """Count what a request brings beside itself, which it was let in without: others wait."""
        if count > 0:
            self._subjects.add(principal.user_id, count, steady_us(self._clock))

    def listed(self, principal: Principal, rows: int) -> None:
        """Count the rows of a list that a request led to: one of many is more than a request."""
        self.more(principal, rows // _ROWS)

    def row_by_row(self, principal: Principal) -> Callable[[], None]:
        """Return what counts one more row of what a stream begins with, as `listed` counts them."""
        numbers = itertools.count(1)

        def one_more() -> None:
            if next(numbers) % _ROWS == 0:
                self.more(principal, 1)

        return one_more

    async def turn(self, principal: Principal) -> None:
        """Count a request of somebody who is signed in, once there is room for it.

        For what a stream brings: who is not read for a moment sends more slowly, and loses nothing.
        """
        await turn_of(principal.user_id, self._subjects, self._clock)

    def anonymous(self, address: str) -> None:
        """Count a request without a token, or with one that doesn't count."""
        wait_us = self._addresses.take(host_of(address), steady_us(self._clock))
        _refuse_for(wait_us, "Too many requests from your address")

    @contextmanager
    def token_shown(self, address: str, *, costly: bool) -> Iterator[None]:
        """Count a token that an address shows, unless it turns out to be good.

        One that it is `costly` to look into counts from its beginning, or many at once would pass.
        """
        if costly:
            self.anonymous(address)
        try:
            yield
        except FogError:
            if not costly:
                self.anonymous(address)
            raise
        if costly:
            self._addresses.give_back(host_of(address))

    @asynccontextmanager
    async def sign_in(self, name_key: str, address: str) -> AsyncIterator[None]:
        """Count an attempt to sign in, the same for names that nobody has.

        It counts from its beginning, or many at once would pass; and no more once the context ends,
        unless with UnauthenticatedError: a wrong password or name. So who is one too many waits
        for those before that are not answered yet: each that succeeds makes room.
        """
        here, attempts = _tried(name_key, address), self._attempts.setdefault(name_key, _Attempts())
        attempts.all += 1
        try:
            while wait_us := self._sign_in_wait_us(here, name_key):
                if not attempts.in_hand or attempts.all - attempts.in_hand > _MOST_WAITING:
                    _refuse_for(wait_us, "Too many sign-ins that failed or are not yet answered")
                await attempts.answered.wait()
            with attempts.looked_into():
                now_us = steady_us(self._clock)
                self._names_here.take(here, now_us)
                self._names.take(name_key, now_us)
                failed = False
                try:
                    yield
                except UnauthenticatedError:
                    failed = True
                    raise
                finally:
                    if not failed:
                        self._names_here.give_back(here)
                        self._names.give_back(name_key)
        finally:
            attempts.all -= 1
            if not attempts.all:
                del self._attempts[name_key]

    def _sign_in_wait_us(self, here: str, name_key: str) -> int:
        now_us = steady_us(self._clock)
        return max(self._names_here.wait_us(here, now_us), self._names.wait_us(name_key, now_us))

    def room_for_stream(self, principal: Principal) -> None:
        """See whether somebody may have one more stream."""
        self._room_for_stream(principal.user_id, self._most_streams)

    def _room_for_stream(self, subject: str, most: int) -> None:
        if self._streams[subject] >= most:
            raise ResourceExhaustedError(
                f"Too many streams at once: {most} are allowed; close one first",
                reason="TOO_MANY_STREAMS",
            )

    def stream(self, principal: Principal) -> AbstractContextManager[None]:
        """Count a stream for as long as the context lasts."""
        return self._stream(principal.user_id, self._most_streams)

    def anonymous_stream(self, address: str) -> AbstractContextManager[None]:
        """Count a stream without a token for as long as the context lasts."""
        return self._stream(host_of(address), self._most_anonymous_streams)

    @contextmanager
    def _stream(self, subject: str, most: int) -> Iterator[None]:
        self._room_for_stream(subject, most)
        self._streams[subject] += 1
        try:
            yield
        finally:
            self._streams[subject] -= 1
            if not self._streams[subject]:
                del self._streams[subject]


def _rate(per_s: float) -> Rate:
    return Rate(per_s, max(round(per_s * _BURST_S), 1))


def _a_minute(often: float) -> Rate:
    return Rate(often / _MINUTE_S, max(round(often), 1))


def _tried(name_key: str, address: str) -> str:
    return f"{host_of(address)} {name_key}"


def host_of(address: str) -> str:
    """Return what one host calls from: its IPv4 address, or its network of IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{int(parsed) >> _HOST_BITS:x}/64"


def _refuse_for(wait_us: int, what: str) -> None:
    if wait_us:
        wait_ms = -(-wait_us // 1000)
        raise ResourceExhaustedError(
            f"{what}; try again in {max(-(-wait_ms // 1000), 1)} s",
            reason="RATE_LIMITED",
            retry_after_ms=wait_ms,
        )
