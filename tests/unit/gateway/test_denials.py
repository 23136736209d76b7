"""A gateway hears of sign-outs at others until it is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from fogbank.runtime.clock import SystemClock
from services.gateway.adapters import denials
from services.gateway.adapters.denials import PostgresDenials


class Connection:
    """To a database in which nothing is denied; `lose` ends it."""

    def __init__(self) -> None:
        self.listens = asyncio.Event()
        self.driver_connection = self
        self._ended: list[Callable[[], None]] = []

    async def get_raw_connection(self) -> Connection:
        return self

    async def execute(self, _statement: Any) -> SimpleNamespace:
        return SimpleNamespace(all=list)

    def add_termination_listener(self, ended: Callable[[], None]) -> None:
        self._ended.append(ended)

    def remove_termination_listener(self, ended: Callable[[], None]) -> None:
        self._ended.remove(ended)

    async def add_listener(self, _channel: str, _heard: Any) -> None:
        self.listens.set()

    def lose(self) -> None:
        for ended in self._ended:
            ended()


async def some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_is_told_to_end_as_the_connection_is_lost_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection, nothing = Connection(), SimpleNamespace()

    @asynccontextmanager
    async def transaction(_engine: Any) -> AsyncIterator[Connection]:
        yield connection

    monkeypatch.setattr(denials, "transaction", transaction)
    following = asyncio.create_task(PostgresDenials(nothing, SystemClock()).follow())  # type: ignore[arg-type]
    await connection.listens.wait()
    await some_turns()
    connection.lose()
    following.cancel()
    await some_turns()
    assert following.cancelled()
