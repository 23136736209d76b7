"""Denied tokens and sessions in PostgreSQL, known to every gateway as soon as they are kept.

The database tells its gateways of each (LISTEN and NOTIFY). Whoever was away reads the table again,
and so does everybody now and then: a connection may be dead without anybody noticing. Who could not
read it for too long lets nobody in: others may have heard of sign-outs that it did not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import asyncpg
import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.errors import UnavailableError
from fogbank.runtime.clock import Clock
from services.gateway.adapters.database import (
    SCHEMA,
    denied_ids,
    instant,
    microseconds,
    transaction,
)
from services.gateway.app.identity import DENIALS_MAX_AGE_S
from services.gateway.app.principal import Principal

_log = structlog.get_logger(__name__)

_CHANNEL = f"{SCHEMA}_denied_ids"
_READ_AGAIN_S = 15.0
_TRY_AGAIN_S = 1.0
_RETRY_HINT_MS = 1_000
_LOST = (UnavailableError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class PostgresDenials:
    """The table, and what this gateway knows of it: ids, and until when each must be known."""

    def __init__(
        self, engine: AsyncEngine, clock: Clock, max_age_s: float = DENIALS_MAX_AGE_S
    ) -> None:
        """Know whom to let in for `max_age_s` seconds after the table was read."""
        self._engine = engine
        self._clock = clock
        self._max_age_s = max_age_s
        self._known: dict[str, int] = {}
        self._read_at_s = clock.monotonic_s()

    async def deny(self, ids: Collection[str], until_us: int) -> None:
        """Keep ids, and let all gateways know; those that have ended anyway are forgotten."""
        until, now = instant(until_us), instant(self._clock.now_us())
        statement = upsert(denied_ids).values([{"id": each, "expires_at": until} for each in ids])
        async with transaction(self._engine) as connection:
            await connection.execute(delete(denied_ids).where(denied_ids.c.expires_at <= now))
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[denied_ids.c.id], set_={"expires_at": until}
                )
            )
            for each in ids:
                await connection.execute(select(func.pg_notify(_CHANNEL, f"{until_us} {each}")))
        self._known |= dict.fromkeys(ids, until_us)

    def denies(self, principal: Principal) -> bool:
        """Tell whether a caller's token or session is among the ids known here.

        Raises:
            UnavailableError: what is known is too old.
        """
        age_s = self._clock.monotonic_s() - self._read_at_s
        if age_s > self._max_age_s:
            raise UnavailableError(
                f"This gateway could not find out for {age_s:.0f} s who signed out, try again",
                reason="DENIALS_OUTDATED",
                retry_after_ms=_RETRY_HINT_MS,
            )
        return principal.token_id in self._known or principal.session_id in self._known

    async def read(self) -> None:
        """Take over what the table holds, and forget what has ended.

        Raises:
            UnavailableError: the database is out of reach.
        """
        # From before the question: what is denied while it is on its way may not be in the answer.
        began_s = self._clock.monotonic_s()
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(select(denied_ids))).all()
        now_us = self._clock.now_us()
        # Added to, not replaced: another may have been denied since the table was read.
        self._known |= {row.id: microseconds(row.expires_at) for row in rows}
        self._known = {each: until for each, until in self._known.items() if until > now_us}
        self._read_at_s = began_s

    async def follow(self) -> None:
        """Keep up with the table for ever, whatever becomes of the database meanwhile."""
        while True:
            try:
                await self._follow()
            except _LOST as error:
                _log.warning("sign-outs at other gateways are not heard of", reason=str(error))
            await asyncio.sleep(_TRY_AGAIN_S)

    async def _follow(self) -> None:
        """Listen and read until the connection is lost."""
        async with transaction(self._engine) as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            lost = asyncio.Event()

            def ended(*_: object) -> None:
                lost.set()

            driver.add_termination_listener(ended)
            await driver.add_listener(_CHANNEL, self._heard)
            try:
                while not lost.is_set():
                    await self.read()
                    try:
                        # Not `wait_for`: before Python 3.12 it may swallow a cancellation.
                        async with asyncio.timeout(_READ_AGAIN_S):
                            await lost.wait()
                    except TimeoutError:
                        # So that a connection that is dead is found out.
                        await driver.execute("SELECT 1", timeout=_READ_AGAIN_S)
            finally:
                driver.remove_termination_listener(ended)
                if not lost.is_set():
                    await driver.remove_listener(_CHANNEL, self._heard)

    def _heard(self, _connection: object, _process: int, _channel: str, message: object) -> None:
        until_us, _, id_ = str(message).partition(" ")
        self._known[id_] = int(until_us)
