"""What a node's containers use, by the engine's counters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiodocker import Docker

from fogbank.domain.resources import NOTHING, Resources
from services.node_agent.adapters.engine import Engine, EngineRefusedError

_MIB = 1024 * 1024
_NS_PER_S = 1_000_000_000
_ASKED_AT_ONCE = 4


class UsageMeter:
    """Adds up processor time and memory of containers between two measurements."""

    def __init__(self) -> None:
        self.used: Resources = NOTHING
        self._processor_ns: dict[str, int] = {}
        self._measured_at_s = 0.0

    async def measure(self, engine: Engine, container_ids: Sequence[str]) -> None:
        """Take the counters of these containers; those that just ended count for nothing.

        Raises:
            EngineAwayError: no answer came.
        """
        few = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(container_id: str) -> tuple[int, int] | None:
            async def stats(docker: Docker) -> list[dict[str, Any]]:
                return await docker.containers.container(container_id).stats(stream=False)

            async with few:
                try:
                    answer = await engine.call(stats)
                except EngineRefusedError:
                    return None
            return counters(answer[0]) if answer else None

        now_s = time.monotonic()
        answers = await asyncio.gather(*(ask(each) for each in container_ids))
        found = {
            each: answer
            for each, answer in zip(container_ids, answers, strict=True)
            if answer is not None
        }
        self._add_up(found, now_s)

    def _add_up(self, found: Mapping[str, tuple[int, int]], now_s: float) -> None:
        elapsed_s = now_s - self._measured_at_s
        # One that wasn't there the last time says nothing of its share yet.
        grown_ns = sum(
            max(0, processor_ns - self._processor_ns[each])
            for each, (processor_ns, _) in found.items()
            if each in self._processor_ns
        )
        memory_bytes = sum(memory for _, memory in found.values())
        millicores = round(1000 * grown_ns / _NS_PER_S / elapsed_s) if elapsed_s > 0 else 0
        self.used = Resources(millicores, -(-memory_bytes // _MIB))
        self._processor_ns = {each: processor_ns for each, (processor_ns, _) in found.items()}
        self._measured_at_s = now_s


def counters(stats: Mapping[str, Any]) -> tuple[int, int]:
    """Return processor time in nanoseconds and memory in bytes, file caches left out."""
    processor = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0)
    memory = stats.get("memory_stats", {})
    details = memory.get("stats") or {}
    cache = details.get("inactive_file", details.get("total_inactive_file", 0))
    return int(processor), max(0, int(memory.get("usage", 0)) - int(cache))
