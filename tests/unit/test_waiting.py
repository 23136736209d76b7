"""The waiting helpers: they return what came true, or say what did not."""

import asyncio

import pytest

from tests.support.waiting import eventually, eventually_sync


async def test_returns_what_a_plain_predicate_found() -> None:
    found: list[int] = []
    asyncio.get_running_loop().call_soon(found.append, 7)
    assert await eventually(lambda: found, timeout_s=5) == [7]


async def test_awaits_an_async_predicate() -> None:
    async def answer() -> str:
        return "here"

    assert await eventually(answer) == "here"


async def test_names_what_never_came() -> None:
    with pytest.raises(AssertionError, match=r"the third replica did not come true within 0\.02 s"):
        await eventually(lambda: None, timeout_s=0.02, what="the third replica")


def test_the_plain_twin_waits_too() -> None:
    answers = iter([0, 0, 3])
    assert eventually_sync(lambda: next(answers)) == 3
    with pytest.raises(AssertionError, match="the last answer was 0"):
        eventually_sync(lambda: 0, timeout_s=0.02)
