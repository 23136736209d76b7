"""The log's end is asked for once for all who want to know, and never of an earlier moment."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from fogbank.domain.errors import UnavailableError
from fogbank.log.port import EventLog
from services.gateway.app.log_end import LogEnd


class SlowLog:
    """Answers when it is let, with what was the last sequence when it was asked."""

    def __init__(self) -> None:
        self.last, self.asked = 1, 0
        self.answers = asyncio.Event()
        self.down = False

    async def last_sequence(self) -> int:
        self.asked += 1
        last = self.last
        await self.answers.wait()
        if self.down:
            raise UnavailableError("The log does not answer")
        return last


async def started(end: LogEnd, number: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(end.ask()) for _ in range(number)]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_who_asks_meanwhile_gets_the_next_answer() -> None:
    log = SlowLog()
    end = LogEnd(cast("EventLog", log))
    early = await started(end, 100)
    log.last = 2
    late = await started(end, 100)
    early[0].cancel()
    assert log.asked == 1
    log.answers.set()
    assert set(await asyncio.gather(*early[1:])) == {1}
    assert set(await asyncio.gather(*late)) == {2}
    assert log.asked == 2
    assert await end.ask() == 2


async def test_after_an_outage_it_is_asked_again() -> None:
    log = SlowLog()
    end = LogEnd(cast("EventLog", log))
    log.down = True
    log.answers.set()
    with pytest.raises(UnavailableError):
        await end.ask()
    log.down = False
    assert await end.ask() == 1
