"""`fog up` on another store of the broker than it had: it says so, and nothing is taken."""

from __future__ import annotations

import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path

import grpc
import pytest

from fogbank.v1 import deployments_pb2, identity_service_pb2, identity_service_pb2_grpc
from tests.support.checked_log import assert_log_keeps_the_rules
from tests.support.fog_up import FogUp, temporary_data_dir
from tests.support.grpc_user import grpc_admin
from tests.support.projection import assert_projection_is_the_fold
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800), pytest.mark.xdist_group("fog-up-kill")]

RUNNING = deployments_pb2.DEPLOYMENT_STATUS_RUNNING


@pytest.fixture
def data_dir() -> Generator[Path]:
    with temporary_data_dir() as folder:
        yield folder


def for_people(data_dir: Path) -> FogUp:
    """Return `fog up` as a person starts it, with news on standard error."""
    command = [sys.executable, "-m", "fogbank.cli.main", "up", "--data-dir", str(data_dir)]
    command += ["--grpc-port", "0", "--http-port", "0", "--runtime", "simulated"]
    return FogUp(data_dir, command=command)


def deploy(system: FogUp, *names: str) -> set[str]:
    with grpc_admin(system) as user:
        made = {user.create(name, cpu_millicores=100, storage_gib=0).id for name in names}
        for deployment_id in made:
            user.wait_status(deployment_id, RUNNING)
    return made


def test_a_wrong_store_is_named_and_the_right_one_goes_on(data_dir: Path) -> None:
    first = FogUp(data_dir, "--nodes", "4")
    try:
        first.start()
        before = deploy(first, "one", "two")
        first.stop()
        store, older = data_dir / "nats" / "store", data_dir.parent / "older"
        shutil.copytree(store, older)
        first.start()
        before |= deploy(first, "three")
        first.stop()
    finally:
        first.end()
    right = store.rename(data_dir.parent / "right")
    shutil.copytree(older, store)

    second = for_people(data_dir)
    try:
        second.launch()
        for service in ("gateway", "scheduler", "ledger"):
            assert_named_once(second, service)
        assert_closed(second)
        assert len(re.findall(r"ended \(", second.errors)) == 0, second.errors
        second.stop()
    finally:
        second.end()
    shutil.rmtree(store)
    right.rename(store)

    third = FogUp(data_dir)
    try:
        third.start()
        with grpc_admin(third) as user:
            assert {deployment.id for deployment in user.all_deployments()} == before
        deploy(third, "four")
        assert_log_keeps_the_rules(third.state["nats"], settled=True)
        assert_projection_is_the_fold(third.state)
    finally:
        third.end()


def assert_named_once(system: FogUp, service: str) -> None:
    """The terminal shows what is wrong, in one line of this service."""
    line = re.compile(rf"{service}-1: CRITICAL .* lost commit \d+, .* it ends at \d+; .*operations")

    def shown() -> list[str]:
        return line.findall(system.errors.replace("\n", " "))

    assert len(eventually_sync(shown, 300, what=f"what the {service} says")) == 1


def assert_closed(system: FogUp) -> None:
    """Nobody is let in."""
    with grpc.insecure_channel(f"127.0.0.1:{system.ports['grpc']}") as channel:
        identity = identity_service_pb2_grpc.IdentityServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            identity.Login(identity_service_pb2.LoginRequest(username="a"), timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"http://127.0.0.1:{system.ports['http']}/readiness", timeout=60)
