"""What an engine tells of its containers comes through at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from services.node_agent.adapters import container_ends
from services.node_agent.adapters.container_config import REPLICA, RESTART
from services.node_agent.adapters.container_ends import ContainerEnds
from services.node_agent.adapters.container_usage import UsageMeter
from services.node_agent.adapters.engine import Engine
from services.node_agent.core.stimuli import ContainerEnded
from tests.support.containers import returning


class _Docker:
    """An engine whose one container runs, until its event comes."""

    def __init__(self) -> None:
        self.events = self.channel = self.containers = self
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.id = "c"

    def subscribe(self) -> _Docker:
        return self

    async def run(self, **_: object) -> None:
        await asyncio.Event().wait()

    async def list(self, **_: object) -> Sequence[_Docker]:
        return [self]


async def test_ends_are_told_while_usage_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    docker: Any = _Docker()
    measuring = asyncio.Event()

    async def measure(*_: object) -> None:
        measuring.set()
        await asyncio.Event().wait()

    async def call(operation: Callable[[Any], Awaitable[Any]]) -> Any:
        return await operation(docker)

    monkeypatch.setattr(UsageMeter, "measure", measure)
    async with Engine("http://127.0.0.1:1") as engine:
        monkeypatch.setattr(engine, "call", call)
        ends = ContainerEnds(engine, returning("n-1"))
        monkeypatch.setattr(ends, "_running", {"a": container_ends._Running("c", 0)})
        monkeypatch.setattr(container_ends, "show", ended)
        events = ends.events()
        assert isinstance(events, AsyncGenerator)
        try:
            async with asyncio.timeout(60):
                told = asyncio.ensure_future(anext(events))
                await measuring.wait()
                labels = {REPLICA: "a", RESTART: "0", "exitCode": "3"}
                docker.queue.put_nowait(
                    {"Action": "die", "Actor": {"ID": "c", "Attributes": labels}}
                )
                assert await told == ContainerEnded("a", 0, 3, "")
        finally:
            await events.aclose()


async def ended(*_: object) -> None:
    """The container is gone by the time that it is looked at."""
