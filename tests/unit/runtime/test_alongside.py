"""Work that goes on alongside: waited for, its failure told, given up with its owner."""

from __future__ import annotations

import asyncio

import pytest

from fogbank.runtime.alongside import alongside


class WorkError(Exception):
    """What goes wrong in the work."""


async def test_the_owner_goes_on_and_waits_where_it_wishes() -> None:
    done: list[int] = []
    may_end = asyncio.Event()

    async def work(number: int) -> None:
        await may_end.wait()
        done.append(number)

    async with alongside() as working:
        await working.end()
        working.begin(work(1))
        await asyncio.sleep(0)
        assert not done
        may_end.set()
        await working.end()
        working.begin(work(2))
        await working.end()
        await working.end()
    assert done == [1, 2]


async def test_a_failure_is_told_where_it_is_waited_for() -> None:
    async def work() -> None:
        raise WorkError

    async with alongside() as working:
        working.begin(work())
        with pytest.raises(WorkError):
            await working.end()


async def test_whichever_comes_first_is_waited_for() -> None:
    async def work() -> None:
        await may_end.wait()

    may_end = asyncio.Event()
    other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with alongside() as working:
        working.begin(work())
        waiting = asyncio.create_task(working.until(other))
        await asyncio.sleep(0)
        assert not waiting.done()
        may_end.set()
        await waiting
        assert not working.under_way
        waiting = asyncio.create_task(working.until(other))
        await asyncio.sleep(0)
        assert not waiting.done()
        other.set_result(None)
        await waiting


async def test_a_failure_is_told_while_something_else_is_waited_for() -> None:
    async def work() -> None:
        raise WorkError

    async with alongside() as working:
        working.begin(work())
        with pytest.raises(WorkError):
            await working.until(asyncio.get_running_loop().create_future())


async def test_work_ends_with_its_owner() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with alongside() as working:
        working.begin(work())
        await asyncio.sleep(0)
    assert ended.is_set()
