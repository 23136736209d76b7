"""Tries the probes of a node's containers, each in a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import structlog

from fogbank.domain.containers import HealthProbe
from services.node_agent.app.ports import (
    BootClock,
    Clock,
    ContainerRuntime,
    ProbeTry,
    RuntimeFaultError,
)
from services.node_agent.core.effects import BeginProbing
from services.node_agent.core.probing import Tally
from services.node_agent.core.stimuli import HealthSeen

_log = structlog.get_logger(__name__)

# Each pause is so much shorter or longer, so that probes begun together don't stay in step.
_JITTER = 0.1
# What a probe says of its failure is kept up to here: the log is no place for pages.
_MAX_REASON = 256
_LEAST_PAUSE_MS = 100
_MS = 1_000


class Prober:
    """Probes what it is told to, and posts what changes."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        post: Callable[[HealthSeen], None],
        *,
        clock: Clock,
        boot_clock: BootClock,
        random: Random,
    ) -> None:
        self._runtime = runtime
        self._post = post
        self._clock = clock
        self._boot_clock = boot_clock
        self._random = random
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, wish: BeginProbing, tasks: asyncio.TaskGroup) -> None:
        """Probe a container, instead of what was probed of that replica before."""
        self.end(wish.replica_id)
        self._tasks[wish.replica_id] = tasks.create_task(
            self._probe(wish), name=f"probe:{wish.replica_id}"
        )

    def end(self, replica_id: str) -> None:
        """Probe that replica no longer."""
        task = self._tasks.pop(replica_id, None)
        if task is not None:
            task.cancel()

    async def _probe(self, wish: BeginProbing) -> None:
        age_us = max(0, self._clock() - wish.started_at_us)
        tally = Tally(wish.probe, self._boot_clock() - age_us, wish.health)
        while True:
            try:
                async with self._runtime.probing(wish.replica_id, wish.probe) as attempt:
                    await self._try_on(wish, attempt, tally)
            except RuntimeFaultError as fault:
                _log.debug("no probing now", replica=wish.replica_id, why=str(fault))
            except Exception as error:  # noqa: BLE001 - one replica's trouble isn't the node's
                _log.error("runtime adapter broke", replica=wish.replica_id, exc_info=error)
            await self._pause(wish.probe)

    async def _try_on(self, wish: BeginProbing, attempt: ProbeTry, tally: Tally) -> None:
        """Try again and again.

        Raises:
            RuntimeFaultError: nobody can tell how the container is.
        """
        while True:
            reason = await _try_once(wish.probe, attempt)
            if tally.tried(passed=not reason, now_us=self._boot_clock()):
                self._post(HealthSeen(wish.replica_id, wish.restart_count, tally.health, reason))
            await self._pause(wish.probe)

    async def _pause(self, probe: HealthProbe) -> None:
        share = self._random.uniform(1 - _JITTER, 1 + _JITTER)
        await asyncio.sleep(max(_LEAST_PAUSE_MS, probe.interval_ms) / _MS * share)


async def _try_once(probe: HealthProbe, attempt: ProbeTry) -> str:
    """Return why a try failed, or nothing.

    Raises:
        RuntimeFaultError: nobody can tell.
    """
    what = probe.kind.name.lower()
    try:
        async with asyncio.timeout(probe.timeout_ms / _MS):
            reason = await attempt()
    except TimeoutError:
        reason = f"no answer within {probe.timeout_ms} ms"
    except RuntimeFaultError:
        raise
    except Exception as error:  # noqa: BLE001 - what answers may answer anything
        reason = f"an answer that makes no sense: {error!r}"
    return f"{what} probe: {reason}"[:_MAX_REASON] if reason else ""
