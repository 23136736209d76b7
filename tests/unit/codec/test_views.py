"""Read models survive the way out and back."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from fogbank.codec import CodecError, views
from fogbank.domain.containers import PortProtocol, PublishedPort
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.node import Fingerprint
from fogbank.domain.position import pack
from fogbank.domain.resources import Resources
from fogbank.domain.states import DeploymentStatus, Health, NodeStatus, ReplicaState, ServiceType
from fogbank.domain.status import StatusChange
from fogbank.domain.views import DeploymentView, NodeView, ReplicaSummary
from tests.golden.examples import DETAILS

DEPLOYMENT_ID = "00000000-0000-4000-8000-000000000001"
SPEC = DeploymentSpec("web", ServiceType.COMPUTE, "nginx:latest", 2, Resources(2000, 2048, 20, 0))


def deployment_view(**changes: object) -> DeploymentView:
    known: dict[str, object] = {
        "id": DEPLOYMENT_ID,
        "spec": SPEC,
        "owner_id": "00000000-0000-4000-8000-00000000000a",
        "status": DeploymentStatus.PENDING,
        "health": Health.UNKNOWN,
        "reason": "",
        "version": pack(7, 3),
        "created_at_us": 1_700_000_000_123_456,
        "updated_at_us": 1_700_000_000_123_457,
    }
    return DeploymentView(**(known | changes))  # type: ignore[arg-type]


def test_a_deployment_comes_back_as_it_went() -> None:
    view = deployment_view(
        status=DeploymentStatus.DELETED,
        health=Health.UNHEALTHY,
        deleted_at_us=1_700_000_001_000_001,
        running_replicas=1,
        replicas=(
            ReplicaSummary(
                "r0",
                0,
                2,
                ReplicaState.RUNNING,
                "n",
                "fog-1",
                "c",
                5_000_001,
                Health.HEALTHY,
                3,
                gpu_devices=(2, 0),
                ports=(PublishedPort(80, PortProtocol.TCP, 32_768),),
            ),
            ReplicaSummary("r1", 1, 1, ReplicaState.PENDING, reason="waiting", unknown=True),
        ),
        recent_changes=(
            StatusChange(
                DEPLOYMENT_ID, DeploymentStatus.PENDING, DeploymentStatus.DELETED, 9, "why", 8
            ),
            StatusChange(DEPLOYMENT_ID, None, DeploymentStatus.PENDING, 7, "made", 7),
        ),
    )
    message = views.deployment_to_pb(view)
    assert message.etag == "7.3"
    assert views.deployment_from_pb(message) == view


@pytest.mark.parametrize("available", [None, 0, 2])
def test_no_available_node_differs_from_unknown(available: int | None) -> None:
    view = deployment_view(available_nodes=available)
    assert views.deployment_from_pb(views.deployment_to_pb(view)).available_nodes == available


def test_unknown_instants_are_absent_outside() -> None:
    message = views.deployment_to_pb(deployment_view())
    assert message.HasField("created_at")
    assert not message.HasField("deleted_at")
    assert not views.replica_to_pb(ReplicaSummary("r", 0, 1, ReplicaState.NEW)).HasField(
        "started_at"
    )


def test_a_foreign_etag_is_refused() -> None:
    message = views.deployment_to_pb(deployment_view())
    message.etag = "yesterday"
    with pytest.raises(CodecError, match="yesterday"):
        views.deployment_from_pb(message)


def test_a_node_comes_back_as_it_went() -> None:
    room = Resources(4000, 8192, 100, 2000)
    view = NodeView(
        "n",
        "fog-1",
        NodeStatus.BUSY,
        Fingerprint(room, room, "amd64", "linux", "us-east", "a100", {"rack": "1"}),
        Resources(1, 2, 3, 4),
        Resources(5, 6, 7, 8),
        91.5,
        12.0,
        3,
        pack(4, 0),
        1_700_000_000_000_001,
        "hot",
        cordoned=True,
        draining=True,
        drain_deadline_us=1_700_000_000_000_002,
        details=DETAILS,
    )
    assert views.node_from_pb(views.node_to_pb(view)) == view


@pytest.mark.parametrize("instant_us", [0, 1, 999_999, 1_700_000_000_000_000, -1])
def test_instants_keep_their_microseconds(instant_us: int) -> None:
    message = views.timestamp_to_pb(instant_us)
    assert views.timestamp_from_pb(message or Timestamp()) == instant_us
