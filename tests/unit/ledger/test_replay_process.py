"""What is told of a process that replays and is gone."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from fogbank.domain.errors import UnavailableError
from services.ledger.adapters.replay_process import replay_process


# The services run on a loop whose pipes take a write, once closed, for a mistake of the writer's.
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_whoever_asks_it_again_hears_the_same(loop: type[asyncio.AbstractEventLoop]) -> None:
    async def ask_twice() -> list[str]:
        reasons = []
        async with replay_process() as process:
            await process.end()
            for _ in range(2):
                with pytest.raises(UnavailableError) as ended:
                    await process.nodes_alone({})
                reasons.append(ended.value.reason)
        return reasons

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(ask_twice()) == ["REPLAY_ENDED"] * 2
