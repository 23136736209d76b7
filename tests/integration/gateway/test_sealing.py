"""Sealed environments on a real database."""

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from services.gateway.adapters import database
from services.gateway.adapters.sealing import (
    SealedEnvironments,
    UnsafeSealingKeyError,
)

KEY = "sealing-key-of-at-least-32-bytes-0123456789"
BROKEN = "fog_gateway_environments_broken_total"


async def test_what_was_sealed_unseals(engine: AsyncEngine) -> None:
    sealing = SealedEnvironments(engine, KEY)
    environments = [{"A": "1", "B": "zwei"}, {"A": "2"}, {"NAME": "\u00e9\n\"'"}]
    keys = [await sealing.seal(env) for env in environments]
    again = SealedEnvironments(engine, KEY)
    assert await again.unseal([*keys, "unknown"]) == dict(zip(keys, environments, strict=True))


async def test_the_same_values_are_kept_once(engine: AsyncEngine) -> None:
    first, second = SealedEnvironments(engine, KEY), SealedEnvironments(engine, KEY)
    keys = {
        await first.seal({"A": "1", "B": "2"}),
        await first.seal({"B": "2", "A": "1"}),
        await second.seal({"A": "1", "B": "2"}),
    }
    assert len(keys) == 1
    async with engine.connect() as connection:
        assert len((await connection.execute(select(database.sealed_environments))).all()) == 1


async def test_no_values_need_no_key(engine: AsyncEngine) -> None:
    sealing = SealedEnvironments(engine, KEY)
    assert await sealing.seal({}) == ""
    assert await sealing.unseal([""]) == {"": {}}
    assert await sealing.unseal([]) == {}


async def test_neither_the_key_nor_the_row_tells_a_value(engine: AsyncEngine) -> None:
    sealing = SealedEnvironments(engine, KEY)
    key = await sealing.seal({"PASSWORD": "hunter2hunter2"})
    other = await SealedEnvironments(engine, KEY[::-1]).seal({"PASSWORD": "hunter2hunter2"})
    assert key != other
    async with engine.connect() as connection:
        rows = (await connection.execute(select(database.sealed_environments))).all()
    assert "hunter2" not in repr(rows)
    assert "PASSWORD" not in repr(rows)


async def test_what_does_not_open_is_left_out_and_told(engine: AsyncEngine) -> None:
    sealing = SealedEnvironments(engine, KEY)
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
        assert await SealedEnvironments(engine, KEY[::-1]).unseal([other]) == {}
    assert REGISTRY.get_sample_value(BROKEN) == before + 2
    assert [line["log_level"] for line in logs] == ["error", "error"]
    assert all("FOG_SEALING_KEY" in line["error"] for line in logs)


def test_a_short_sealing_key_is_refused_with_advice(engine: AsyncEngine) -> None:
    with pytest.raises(UnsafeSealingKeyError, match="openssl rand -hex 32"):
        SealedEnvironments(engine, "short")
