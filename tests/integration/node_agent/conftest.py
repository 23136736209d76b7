"""Nodes on the tests' engine."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from tests.support.containers import PodmanEngine, remove_all
from tests.support.engine_nodes import Nodes


@pytest.fixture
async def nodes(podman: PodmanEngine) -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(podman, stack)
    remove_all(podman)


@pytest.fixture
def replica_id() -> str:
    return str(uuid4())
