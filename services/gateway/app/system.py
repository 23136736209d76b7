"""How the system as a whole is doing, as far as this gateway can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from fogbank.domain.errors import FogError
from fogbank.runtime.clock import Clock
from services.gateway.app.agents import Agents
from services.gateway.app.fold import FleetFold
from services.gateway.app.gate import Gate
from services.gateway.app.ports import (
    CommitAppender,
    LedgerQueries,
    LedgerStatus,
    SchedulerQueries,
    SchedulerStatus,
)
from services.gateway.app.shared_answer import SharedAnswer

T = TypeVar("T")

OK = "ok"
PROBED_EVERY_S = 1.0
_PATIENCE_S = 1.5


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """A view over the services; None for one that did not answer.

    `waiting` counts deployments with a replica that waits for a place, by class (low, medium,
    high), and `oldest_waiting_us` is for how long the first of them has; `log_sequence` is how
    far this gateway has read.
    """

    log_sequence: int
    waiting: dict[str, int]
    oldest_waiting_us: int
    agents_connected: int
    policy: str
    ledger: LedgerStatus | None
    scheduler: SchedulerStatus | None

    @property
    def ledger_lag(self) -> int | None:
        """Commits that the ledger's projection is behind; None while it does not answer."""
        if self.ledger is None:
            return None
        return max(0, self.log_sequence - self.ledger.as_of_sequence)


class System:
    """Health and status over all services, for all faces."""

    def __init__(
        self,
        fold: FleetFold,
        appender: CommitAppender,
        agents: Agents,
        ledger: LedgerQueries,
        scheduler: SchedulerQueries,
        *,
        clock: Clock,
        gate: Gate | None = None,
        probed_every_s: float = PROBED_EVERY_S,
    ) -> None:
        """Put it together; without a `gate` this gateway serves from the start.

        Probes ask log and services every `probed_every_s` seconds at most: anybody may send them.
        """
        self._fold = fold
        self._appender = appender
        self._agents = agents
        self._ledger = ledger
        self._scheduler = scheduler
        self._clock = clock
        self._gate = gate or Gate.opened()
        self._log_end = SharedAnswer(lambda: _check(fold.log_end()), probed_every_s)
        self._services = SharedAnswer(self._ask_services, probed_every_s)

    async def health(self) -> dict[str, str]:
        """Return what log, ledger and scheduler say: "ok", or what is wrong."""
        log, (ledger, scheduler) = await asyncio.gather(self._check_log(), self._services())
        return {"log": log, "ledger": ledger[1], "scheduler": scheduler[1]}

    async def readiness(self) -> dict[str, str]:
        """Return what this process itself depends on says: the log, and why it may not write."""
        if (why := self._gate.closed_for) is not None:
            return {"log": why}
        return {"log": await self._check_log()}

    async def is_ready(self) -> bool:
        """Tell whether all that this process itself depends on is well."""
        return set((await self.readiness()).values()) == {OK}

    async def status(self) -> SystemStatus:
        """Return the view over the services."""
        ledger, scheduler = await self._ask_services()
        now_us, since_us = self._clock.now_us(), self._fold.waiting.oldest_us
        return SystemStatus(
            self._fold.position,
            self._fold.waiting.depth,
            0 if since_us is None else max(now_us - since_us, 0),
            self._agents.count,
            self._fold.fleet.facts.policy.title,
            ledger[0],
            scheduler[0],
        )

    async def _check_log(self) -> str:
        if not self._appender.is_open:
            return "the outcome of a commit is unknown"
        _found, text = await self._log_end()
        return text

    async def _ask_services(
        self,
    ) -> tuple[tuple[LedgerStatus | None, str], tuple[SchedulerStatus | None, str]]:
        return await asyncio.gather(_check(self._ledger.status()), _check(self._scheduler.status()))


async def _check(question: Awaitable[T]) -> tuple[T | None, str]:
    """Return the answer (None without one) and "ok", or what is wrong."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await question, OK
    except FogError as error:
        return None, error.message
    except TimeoutError:
        return None, "no answer in time"
