"""What is kept of environments, beside the log that refers to them, on a real database."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import UnavailableError
from fogbank.runtime.clock import SystemClock
from services.gateway.adapters.database import make_engine, sealed_environments
from services.gateway.adapters.sealing import SealedEnvironments
from services.gateway.app.gate import Gate
from services.gateway.app.unused_environments import UnusedEnvironments
from tests.support.fleet_log import OWNER, a_fingerprint, a_spec, an_id
from tests.support.gateway import GatewayWorld, gateway_world

KEY = "sealing-key-of-at-least-32-bytes-0123456789"
DAY_US = 24 * 3600 * 1_000_000


async def kept(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return {*(await connection.execute(select(sealed_environments.c.env_key))).scalars()}


async def write(world: GatewayWorld, event: ev.Event, event_id: str, after_us: int = 0) -> None:
    """Append a fact some time from now, without waiting until it is folded."""
    now_us = SystemClock().now_us() + after_us
    envelope = EventEnvelope(event_id, event, "somebody", "somebody", now_us)
    await world.log.append(encode_commit(now_us, [encode_envelope(envelope)]))


async def test_secrets_do_not_outlive_their_deployment(engine: AsyncEngine) -> None:
    environments = SealedEnvironments(engine, KEY, SystemClock())
    stays, goes = await environments.seal({"A": "stays"}), await environments.seal({"A": "goes"})
    never = await environments.seal({"A": "never referred to"})
    async with gateway_world() as world:
        unused = UnusedEnvironments(world.fold, environments, Gate.opened())
        await write(world, ev.DeploymentCreated(a_spec("web"), OWNER, stays), an_id("web"))
        await write(world, ev.DeploymentCreated(a_spec("job"), OWNER, goes), an_id("job"))
        assert await unused.forget() == 0, "a command may be under way that refers to it"
        async with engine.begin() as connection:
            lately = func.now() - timedelta(hours=25)
            await connection.execute(update(sealed_environments).values(used_at=lately))
        assert await unused.forget() == 1
        assert await kept(engine) == {stays, goes}
        await write(world, ev.DeploymentDeleted(an_id("job")), an_id("deletion"))
        assert await unused.forget() == 0, "its replicas may still be running"
        assert never not in await kept(engine)
        connected = ev.NodeConnected(an_id("fog-1"), "fog-1", a_fingerprint())
        await write(world, connected, an_id("connection"), 2 * DAY_US)
        closed = Gate()
        assert await UnusedEnvironments(world.fold, environments, closed).forget() == 0
        assert await kept(engine) == {stays, goes}, "who does not serve deletes nothing"
        assert await unused.forget() == 1
        assert await kept(engine) == {stays}


async def test_without_a_database_it_is_told(tmp_path: Path) -> None:
    nowhere = make_engine(f"postgresql://fog@/fog?host={tmp_path}")
    environments = SealedEnvironments(nowhere, KEY, SystemClock())
    async with gateway_world() as world:
        with pytest.raises(UnavailableError):
            await UnusedEnvironments(world.fold, environments, Gate.opened()).forget()
