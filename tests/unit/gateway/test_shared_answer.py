"""Many who ask at about the same time cost what one does."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway.app.shared_answer import SharedAnswer
from tests.support.waiting import eventually


class Asked:
    """Answers how often it was asked, once it is told to go on."""

    def __init__(self) -> None:
        self.times = 0
        self.go_on = asyncio.Event()

    async def __call__(self) -> int:
        self.times += 1
        await self.go_on.wait()
        return self.times


async def test_those_who_ask_at_once_get_one_answer_and_so_do_those_a_little_later() -> None:
    asked = Asked()
    shared = SharedAnswer(asked, 3_600)
    first, second = asyncio.create_task(shared()), asyncio.create_task(shared())
    await eventually(lambda: asked.times == 1, what="the question")
    first.cancel()
    asked.go_on.set()
    assert await second == 1
    assert [await shared() for _ in range(3)] == [1, 1, 1]
    assert first.cancelled()


async def test_an_answer_is_good_for_so_long_only_and_a_question_is_never_asked_twice_at_once() -> (
    None
):
    asked = Asked()
    shared = SharedAnswer(asked, 0)
    both = [asyncio.create_task(shared()) for _ in range(2)]
    await eventually(lambda: asked.times == 1, what="the question")
    asked.go_on.set()
    assert await asyncio.gather(*both) == [1, 1]
    assert await shared() == 2


async def test_what_came_instead_of_an_answer_is_shared_too() -> None:
    async def fail() -> None:
        raise ValueError("no")

    shared = SharedAnswer(fail, 3_600)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await shared()
