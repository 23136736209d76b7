"""Denied tokens and sessions in PostgreSQL, known to every gateway as soon as they are kept.

The database tells its gateways of each (LISTEN and NOTIFY). Whoever was away reads the table again,
and so does everybody now and then: a connection may be dead without anybody noticing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import asyncpg
import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.errors import UnavailableError
from services.gateway.adapters.database import (
    SCHEMA,
    denied_ids,
    instant,
    microseconds,
    transaction,
)
from services.gateway.app.principal import Principal

_log = structlog.get_logger(__name__)

_CHANNEL = f"{SCHEMA}_denied_ids"
_READ_AGAIN_S = 15.0
_TRY_AGAIN_S = 1.0
_LOST = (UnavailableError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class PostgresDenials:
    """The table, and what this gateway knows of it: ids, and until when each must be known."""

    def __init__(self, engine: AsyncEngine, clock_us: Callable[[], int]) -> None:
        self._engine = engine
        self._clock_us = clock_us
        self._known: dict[str, int] = {}

    async def deny(self, ids: Collection[str], until_us: int) -> None:
        """Keep ids, and let all gateways know; those that have ended anyway are forgotten."""
        until, now = instant(until_us), instant(self._clock_us())
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
        """Tell whether a caller's token or session is among the ids known here."""
        return principal.token_id in self._known or principal.session_id in self._known

    async def read(self) -> None:
        """Take over what the table holds, and forget what has ended.

        Raises:
            UnavailableError: the database is out of reach.
        """
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(select(denied_ids))).all()
        now_us = self._clock_us()
        # Added to, not replaced: another may have been denied since the table was read.
        self._known |= {row.id: microseconds(row.expires_at) for row in rows}
        self._known = {each: until for each, until in self._known.items() if until > now_us}

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
                        await asyncio.wait_for(lost.wait(), _READ_AGAIN_S)
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
