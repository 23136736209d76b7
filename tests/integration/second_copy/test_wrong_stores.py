"""The broker comes back with another store than it had: nobody takes it for the log."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from tests.support.ledger import whole_tables
from tests.support.three_services import SERVICES, ThreeServices
from tests.support.two_stores import (
    Lived,
    an_older_copy,
    another_fleets,
    assert_nothing_lost,
    assert_refused,
    complaints,
    everything_copied,
    nothing,
)

pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(900)]

Harm = Callable[[Lived], Coroutine[Any, Any, tuple[str, ...]]]


async def a_damaged_copy(lived: Lived) -> tuple[str, ...]:
    await flip_the_last_copy(lived)
    return (f"copy of commit {lived.end} is damaged",)


async def flip_the_last_copy(lived: Lived) -> None:
    """Flip a bit in the ledger's copy of the last commit; the second time mends it."""
    url = lived.services.database_url.replace("postgresql+asyncpg", "postgresql")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "UPDATE commits SET data = set_byte(data, 7, get_byte(data, 7) # 16) "
            "WHERE sequence = $1",
            lived.end,
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("harm", [nothing, an_older_copy, another_fleets, a_damaged_copy])
async def test_a_wrong_store_is_refused_by_all_until_the_right_one_is_back(
    lived: Lived, harm: Harm
) -> None:
    services = lived.services
    words = await harm(lived)
    services.broker.start()
    before = await whole_tables(services.database_url)
    services.start()
    levels = ("critical", "warning") if harm is a_damaged_copy else ("critical",)

    for service in SERVICES:
        (complaint,) = await complaints(services, service, *levels)
        assert all(word in complaint for word in words), complaint
    await assert_refused(services, words[0])
    async with services.log() as log:
        end = await log.last_sequence()
    ends: dict[Harm, int] = {nothing: 0, an_older_copy: lived.older_end}
    assert end == ends.get(harm, lived.end)
    assert await whole_tables(services.database_url) == before
    assert services.alive()
    for service in SERVICES:
        assert len(await complaints(services, service, *levels)) == 1

    services.broker.stop()
    if harm is a_damaged_copy:
        await flip_the_last_copy(lived)
    services.put(lived.right)
    services.broker.start()
    await services.ready()
    await assert_nothing_lost(lived)


@pytest.mark.parametrize("harm", [nothing, an_older_copy, another_fleets])
async def test_a_store_replaced_under_running_services_ends_them_once(
    lived: Lived, harm: Harm
) -> None:
    services = lived.services
    services.broker.start()
    services.start()
    await services.ready()
    end = await everything_copied(services)
    before = await whole_tables(services.database_url)
    services.broker.kill()
    await harm(lived)
    services.broker.start()

    for service in SERVICES:
        assert await services.ended(service) == 1
        (complaint,) = services.complaints(service)
        assert re.search(rf"LogRewoundError: .*\b{end}\b.*operations\.md", complaint), complaint
    assert await whole_tables(services.database_url) == before

    services.start()
    for service in SERVICES:
        await complaints(services, service)
    await assert_refused(services, f"commit {end}")
    assert await whole_tables(services.database_url) == before


async def test_without_a_ledger_nothing_is_appended(services: ThreeServices) -> None:
    services.start("gateway", "scheduler")
    for service in ("gateway", "scheduler"):
        (complaint,) = await complaints(services, service, "warning", about="ledger")
        assert "the ledger, which keeps the second copy, does not answer" in complaint
    status, text = await services.readiness()
    assert status == 503
    assert "second copy" in text
    async with services.log() as log:
        assert await log.last_sequence() == 0
    services.start("ledger")
    await services.ready()
    async with services.user() as user:
        assert await user.deploy("first")
