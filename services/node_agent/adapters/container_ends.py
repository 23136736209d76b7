"""Ends of a node's containers, by the engine's events and by looks at what runs still."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from signal import SIGKILL
from typing import Any

import structlog
from aiodocker import Docker

from fogbank.domain.resources import NOTHING, Resources
from services.node_agent.adapters.container_config import NODE, REPLICA, Shown, restart_of
from services.node_agent.adapters.container_usage import UsageMeter
from services.node_agent.adapters.engine import Engine, EngineAwayError, EngineRefusedError
from services.node_agent.adapters.one_container import show
from services.node_agent.adapters.oom_kills import OomKills
from services.node_agent.app.ports import RuntimeFaultError
from services.node_agent.core.stimuli import ContainerEnded, RuntimeEvent

_log = structlog.get_logger(__name__)

# After this long without an event the containers are looked at one by one all the same.
LOOK_EVERY_S = 10.0
_RECONNECT_S = 0.5
# The engine's events are asked for from so long before the look that goes with them.
_OVERLAP_S = 1
_NO_EXIT_CODE = -1
_KILLED = 128 + SIGKILL


@dataclass(frozen=True, slots=True)
class _Running:
    id: str
    restart_count: int


class ContainerEnds:
    """Knows which containers of a node run, and tells when one ends."""

    def __init__(
        self,
        engine: Engine,
        node: Callable[[], Awaitable[str]],
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """Follow an open `engine`; `node` returns the node's id."""
        self._engine = engine
        self._node = node
        self._look_every_s = look_every_s
        # Containers that are thought to run, by replica.
        self._running: dict[str, _Running] = {}
        self._told: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._usage = UsageMeter()
        self._measuring: asyncio.Task[None] | None = None
        self._oom_kills = OomKills()

    def used_resources(self) -> Resources:
        """Return what the running containers used when they were last looked at."""
        return self._usage.used if self._running else NOTHING

    async def began(self, replica_id: str, restart_count: int, shown: Shown) -> None:
        """Take note of a container that was started; it may have ended since."""
        self._running[replica_id] = _Running(shown.id, restart_count)
        if shown.running:
            await self._oom_kills.watch(shown.id, shown.pid)
        else:
            await self._tell_end(replica_id, restart_count, shown)

    def not_running(self, replica_id: str) -> None:
        """Take note that a replica has no running container, and no end to be told of."""
        self._running.pop(replica_id, None)

    def forget(self, container_id: str) -> None:
        """Let go of what is kept of a container that is gone."""
        self._oom_kills.forget(container_id)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        """Yield ends forever, as the port wants them."""
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                event = asyncio.create_task(self._told.get())
                try:
                    await asyncio.wait({watch, event}, return_when=asyncio.FIRST_COMPLETED)
                    if watch.done():
                        watch.result()
                    yield event.result()
                finally:
                    event.cancel()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    # --- looks ------------------------------------------------------------------------------

    async def _look(self, node_id: str) -> None:
        """Tell of every container that ended without an event that came through."""
        before = dict(self._running)
        if not before:
            return
        listed = await self._engine.call(
            lambda docker: docker.containers.list(filters=of_node(node_id))
        )
        running = {one.id for one in listed}
        for replica_id, one in before.items():
            if one.id not in running:
                await self._see_end(replica_id, one)
        # Engines take long over it: ends are not to wait meanwhile.
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure(sorted(running)))

    async def _measure(self, container_ids: Sequence[str]) -> None:
        try:
            await self._usage.measure(self._engine, container_ids)
        except EngineAwayError as error:
            self._engine.note_away(error)

    async def _see_end(self, replica_id: str, one: _Running) -> None:
        shown = await self._engine.call(lambda docker: show(docker, one.id))
        if self._running.get(replica_id) != one or (shown is not None and shown.running):
            return
        if shown is None:
            self.forget(one.id)
            self._tell(replica_id, one.restart_count, _NO_EXIT_CODE, "its container was removed")
        else:
            await self._tell_end(replica_id, one.restart_count, shown)

    async def _tell_end(self, replica_id: str, restart_count: int, shown: Shown) -> None:
        why = await self._why_ended(shown)
        self._tell(replica_id, restart_count, shown.exit_code, why)

    async def _why_ended(self, shown: Shown) -> str:
        if shown.exit_code == _KILLED and not shown.out_of_memory:
            shown = replace(shown, out_of_memory=await self._oom_kills.killed(shown.id))
        return shown.why_ended

    def _tell(self, replica_id: str, restart_count: int, exit_code: int, why: str) -> None:
        self._running.pop(replica_id, None)
        self._told.put_nowait(ContainerEnded(replica_id, restart_count, exit_code, why))

    # --- events -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Follow the engine's events, through all its outages, until cancelled."""
        node_id = await self._node()
        while True:
            try:
                await self._engine.call(lambda docker: self._follow(docker, node_id))
            except EngineAwayError as error:
                self._engine.note_away(error)
            except EngineRefusedError as error:
                _log.warning("engine refuses to tell its events", why=str(error))
            await asyncio.sleep(_RECONNECT_S)

    async def _follow(self, docker: Docker, node_id: str) -> None:
        """Tell of ends until the connection is lost."""
        stream = docker.events.channel.subscribe()
        since = int(time.time()) - _OVERLAP_S
        reading = asyncio.create_task(
            docker.events.run(since=since, filters=of_node(node_id, type=["container"]))
        )
        try:
            await self._look(node_id)
            while True:
                try:
                    async with asyncio.timeout(self._look_every_s):
                        event = await stream.queue.get()
                except TimeoutError:
                    await self._look(node_id)
                    continue
                if event is None:
                    await reading
                    return
                await self._take_event(event)
        finally:
            ending = [each for each in (reading, self._measuring) if each is not None]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _take_event(self, event: Mapping[str, Any]) -> None:
        if event.get("Action") != "die":
            return
        actor = event.get("Actor") or {}
        container_id, labels = actor.get("ID", ""), actor.get("Attributes") or {}
        replica_id = labels.get(REPLICA)
        if not replica_id:
            return
        exit_code, why = int(labels.get("exitCode") or _NO_EXIT_CODE), ""
        try:
            shown = await self._engine.call(lambda docker: show(docker, container_id))
        except RuntimeFaultError:
            shown = None
        if shown is not None:
            if shown.running:
                return  # somebody started it again by hand
            exit_code, why = shown.exit_code, await self._why_ended(shown)
        restart_count = restart_of(labels)
        if self._running.get(replica_id) == _Running(container_id, restart_count):
            del self._running[replica_id]
        self._told.put_nowait(ContainerEnded(replica_id, restart_count, exit_code, why))


def of_node(node_id: str, **more: list[str]) -> str:
    """Return the engine's filter for a node's containers."""
    return json.dumps({"label": [f"{NODE}={node_id}"], **more})
