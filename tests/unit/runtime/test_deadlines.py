"""Questions about the past have the time that they are given, and no other call has more."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from fogbank.runtime.deadlines import DEADLINE_S, PAST_ANSWER_S, PAST_TURN_S, deadline_s
from fogbank.v1.audit_service_pb2 import GetStateAtRequest
from fogbank.v1.deployment_service_pb2 import GetDeploymentRequest, ListDeploymentsRequest
from fogbank.v1.identity_service_pb2 import GetClusterStatusRequest
from fogbank.v1.ledger_query_service_pb2 import QueryDeploymentsRequest, QueryNodeRequest
from fogbank.v1.moments_pb2 import Moment
from fogbank.v1.node_service_pb2 import GetNodeRequest, ListNodesRequest

THEN = Moment(sequence=7)


@pytest.mark.parametrize(
    "kind",
    [
        GetDeploymentRequest,
        ListDeploymentsRequest,
        GetNodeRequest,
        ListNodesRequest,
        GetClusterStatusRequest,
        QueryDeploymentsRequest,
        QueryNodeRequest,
    ],
)
def test_about_the_past_a_call_may_take_longer(kind: Any) -> None:
    assert deadline_s(kind(as_of=THEN)) > PAST_TURN_S + PAST_ANSWER_S
    assert deadline_s(kind()) == DEADLINE_S


@pytest.mark.parametrize("request_", [GetStateAtRequest(), b"bytes"])
def test_others_may_not(request_: Message | bytes) -> None:
    assert deadline_s(request_) == DEADLINE_S


def test_a_state_of_then_is_about_the_past() -> None:
    assert deadline_s(GetStateAtRequest(sequence=7)) > PAST_TURN_S + PAST_ANSWER_S
