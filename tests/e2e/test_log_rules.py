"""The log that a whole system wrote keeps the rules, by a reading that shares no code with it."""

import json

import pytest

from fogbank.checker import Acknowledged
from fogbank.v1 import deployments_pb2
from tests.support.checked_log import assert_log_keeps_the_rules
from tests.support.fog_up import FogUp, fog
from tests.support.grpc_user import GrpcUser

pytestmark = pytest.mark.xdist_group("fog-up")


def test_the_log_of_a_system_at_work_keeps_the_rules(system: FogUp, admin: GrpcUser) -> None:
    kept = admin.create("kept", replicas=2, cpu_millicores=100, memory_mib=64, storage_gib=1)
    gone = admin.create("gone", cpu_millicores=100, memory_mib=64, storage_gib=1)
    admin.wait_status(kept.id, deployments_pb2.DEPLOYMENT_STATUS_RUNNING)
    admin.delete(gone.id)
    promises = [
        Acknowledged("create", kept.id, replicas=2, end="running"),
        Acknowledged("create", gone.id, replicas=1),
        Acknowledged("delete", gone.id, end="deleted"),
    ]
    report = assert_log_keeps_the_rules(system.state["nats"], promises, settled=True)
    assert report.counts.rounds_accepted
    result = fog(system, "audit", "check", "--data-dir", str(system.data_dir), "-o", "json")
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)["clean"] is True
    admin.delete(kept.id)
