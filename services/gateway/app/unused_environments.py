"""Environments that no deployment needs any more are deleted: secrets don't outlive their use."""

from __future__ import annotations

import asyncio

import structlog

from fogbank.domain.errors import FogError
from services.gateway.app.fold import FleetFold
from services.gateway.app.gate import Gate
from services.gateway.app.ports import ForgettableEnvironments
from services.gateway.core.env_keys import needed_env_keys

_log = structlog.get_logger(__name__)

_EVERY_S = 3_600.0
# Whoever asked for one less than this ago may have a command under way that refers to it.
UNUSED_FOR_S = 24 * 3_600.0


class UnusedEnvironments:
    """Looks every hour for environments that can go. Any number of gateways may do so at once."""

    def __init__(self, fold: FleetFold, environments: ForgettableEnvironments, gate: Gate) -> None:
        self._fold = fold
        self._environments = environments
        self._gate = gate

    async def run(self) -> None:
        """Forget what isn't needed, at once and then every hour, for ever."""
        while True:
            try:
                await self.forget()
            except FogError as error:
                _log.warning("unused environments stay for now", error=error.message)
            await asyncio.sleep(_EVERY_S)

    async def forget(self) -> int:
        """Forget what isn't needed as of now; return how many.

        What a command refers to that was accepted before is known by then: the log is read to the
        end that it has now. Who stands still, or reads another log than its copy, deletes nothing.

        Raises:
            FogError: the log or the database is out of reach.
        """
        await self._fold.reached(await self._fold.log_end())
        if self._gate.closed_for is not None:
            return 0
        needed = needed_env_keys(self._fold.fleet.facts)
        gone = await self._environments.forget_unused(needed, UNUSED_FOR_S)
        if gone:
            _log.info("environments that no deployment needs any more are deleted", count=gone)
        return gone
