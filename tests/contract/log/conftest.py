"""Each adapter of the log, in surroundings of its own."""

from collections.abc import AsyncIterator, Generator
from uuid import uuid4

import pytest

from tests.contract.log.worlds import (
    MemoryWorld,
    SimulatedWorld,
    World,
    guarded_world,
    jetstream_world,
)
from tests.support.nats import NatsServer, nats_server

# The second is the production adapter on the simulation's broker; the last one the third on a
# broker with users, as it runs in earnest.
ADAPTERS = ["memory", "simulated", "jetstream", "jetstream-guarded"]


@pytest.fixture(scope="session")
def broker() -> Generator[NatsServer]:
    """One broker for all tests that leave it alive; each takes a fleet of its own."""
    with nats_server() as server:
        yield server


@pytest.fixture(params=ADAPTERS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    if request.param == "simulated":
        yield SimulatedWorld()
        return
    if request.param == "jetstream-guarded":
        async with guarded_world("guarded") as surroundings:
            yield surroundings
        return
    broker: NatsServer = request.getfixturevalue("broker")
    async with jetstream_world(broker, uuid4().hex) as surroundings:
        yield surroundings


@pytest.fixture(params=ADAPTERS)
async def mortal_world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """As `world`, for tests that kill the engine."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    if request.param == "simulated":
        yield SimulatedWorld()
        return
    if request.param == "jetstream-guarded":
        async with guarded_world("guarded") as surroundings:
            yield surroundings
        return
    with nats_server() as server:
        async with jetstream_world(server, "mortal") as surroundings:
            yield surroundings
