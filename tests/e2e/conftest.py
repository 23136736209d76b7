"""One whole system for all tests that don't break it."""

from collections.abc import Generator

import pytest

from tests.support.fog_up import FogUp, fog_up
from tests.support.grpc_user import GrpcUser, grpc_admin


@pytest.fixture(scope="session")
def system() -> Generator[FogUp]:
    """`fog up` with the default fleet, on free ports."""
    with fog_up() as running:
        yield running


@pytest.fixture
def admin(system: FogUp) -> Generator[GrpcUser]:
    """Its first user over gRPC."""
    with grpc_admin(system) as user:
        yield user
