"""Sealed environments on a real database."""

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from fogbank.runtime.clock import ManualClock, SystemClock
from services.gateway.adapters import database
from services.gateway.adapters.sealing import (
    SealedEnvironments,
    UnsafeSealingKeyError,
)

KEY = "sealing-key-of-at-least-32-bytes-0123456789"
CLOCK = SystemClock()
BROKEN = "fog_gateway_environments_broken_total"


async def test_what_was_sealed_unseals(engine: AsyncEngine) -> None:
    sealing = SealedEnvironments(engine, KEY, CLOCK)
    environments = [{"A": "1", "B": "zwei"}, {"A": "2"}, {"NAME": "\u00e9\n\"'"}]
    keys = [await sealing.seal(env) for env in environments]
    again = SealedEnvironments(engine, KEY, CLOCK)
    assert await again.unseal([*keys, "unknown"]) == dict(zip(keys, environments, strict=True))


async def test_the_same_values_are_kept_once(engine: AsyncEngine) -> None:
    first, second = SealedEnvironments(engine, KEY, CLOCK), SealedEnvironments(engine, KEY, CLOCK)
    keys = {
        await first.seal({"A": "1", "B": "2"}),
        await first.seal({"B": "2", "A": "1"}),
        await second.seal({"A": "1", "B": "2"}),
    }
    assert len(keys) == 1
    async with engine.connect() as connection:
        assert len((await connection.execute(select(database.sealed_environments))).all()) == 1


async def rows(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return {
            *(await connection.execute(select(database.sealed_environments.c.env_key))).scalars()
        }


async def unused_for(engine: AsyncEngine, span: timedelta) -> None:
    """Let all that are kept have been asked for so long ago."""
    async with engine.begin() as connection:
        await connection.execute(
            update(database.sealed_environments).values(used_at=func.now() - span)
        )


async def test_what_is_neither_needed_nor_lately_used_goes(engine: AsyncEngine) -> None:
    sealing = SealedEnvironments(engine, KEY, CLOCK)
    needed, old = await sealing.seal({"A": "needed"}), await sealing.seal({"A": "old"})
    await unused_for(engine, timedelta(hours=25))
    fresh = await sealing.seal({"A": "fresh"})
    assert await sealing.forget_unused({needed, "unknown"}, 24 * 3600) == 1
    assert await rows(engine) == {needed, fresh}
    assert await sealing.forget_unused({needed, "unknown"}, 24 * 3600) == 0
    # Who asks for it anew gets it anew, also where it was remembered as kept.
    assert await sealing.seal({"A": "old"}) == old
    assert await sealing.unseal([old]) == {old: {"A": "old"}}


async def test_who_asks_again_within_a_day_keeps_an_environment_from_being_forgotten(
    engine: AsyncEngine,
) -> None:
    clock = ManualClock()
    sealing, other = SealedEnvironments(engine, KEY, clock), SealedEnvironments(engine, KEY, CLOCK)
    key = await sealing.seal({"A": "1"})
    await unused_for(engine, timedelta(hours=25))
    clock.advance(3600)
    assert await sealing.seal({"A": "1"}) == key
    assert await other.forget_unused((), 24 * 3600) == 0
    assert await rows(engine) == {key}


async def test_no_values_need_no_key(engine: AsyncEngine) -> None:
    sealing = SealedEnvironments(engine, KEY, CLOCK)
    assert await sealing.seal({}) == ""
    assert await sealing.unseal([""]) == {"": {}}
    assert await sealing.unseal([]) == {}


async def test_neither_the_key_nor_the_row_tells_a_value(engine: AsyncEngine) -> None:
    sealing = SealedEnvironments(engine, KEY, CLOCK)
    key = await sealing.seal({"PASSWORD": "hunter2hunter2"})
    other = await SealedEnvironments(engine, KEY[::-1], CLOCK).seal({"PASSWORD": "hunter2hunter2"})
    assert key != other
    async with engine.connect() as connection:
        rows = (await connection.execute(select(database.sealed_environments))).all()
    assert "hunter2" not in repr(rows)
    assert "PASSWORD" not in repr(rows)


async def test_what_does_not_open_is_left_out_and_told(engine: AsyncEngine) -> None:
    sealing = SealedEnvironments(engine, KEY, CLOCK)
    key, other = await sealing.seal({"A": "1"}), await sealing.seal({"A": "2"})
    table = database.sealed_environments
    async with engine.begin() as connection:
        swapped = select(table.c.ciphertext).where(table.c.env_key == other).scalar_subquery()
        await connection.execute(
            update(table).where(table.c.env_key == key).values(ciphertext=swapped)
        )
    before = REGISTRY.get_sample_value(BROKEN) or 0.0
    with capture_logs() as logs:
        assert await sealing.unseal([key, other]) == {other: {"A": "2"}}
        assert await SealedEnvironments(engine, KEY[::-1], CLOCK).unseal([other]) == {}
    assert REGISTRY.get_sample_value(BROKEN) == before + 2
    assert [line["log_level"] for line in logs] == ["error", "error"]
    assert all("FOG_SEALING_KEY" in line["error"] for line in logs)


def test_a_short_sealing_key_is_refused_with_advice(engine: AsyncEngine) -> None:
    with pytest.raises(UnsafeSealingKeyError, match="openssl rand -hex 32"):
        SealedEnvironments(engine, "short", CLOCK)
