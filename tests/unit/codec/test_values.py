"""Specs as messages hold them, whatever they leave out or hold empty."""

from __future__ import annotations

from typing import Any

import pytest

from fogbank.codec.values import spec_from_pb
from fogbank.domain.containers import PLAIN_CONTAINER
from fogbank.domain.deployment import DisconnectRules, RolloutSpec
from fogbank.v1 import deployments_pb2 as pb

_WHOLE = pb.Constraint(
    attribute="label.disk", operator=pb.CONSTRAINT_OPERATOR_EQUAL, values=["ssd"]
)


def a_message(**fields: Any) -> pb.DeploymentSpec:
    return pb.DeploymentSpec(name="web", type=pb.SERVICE_TYPE_COMPUTE, replicas=1, **fields)


def test_parts_that_are_left_out_or_empty_have_their_defaults() -> None:
    empty = a_message(
        rollout=pb.RolloutSpec(), disconnect=pb.DisconnectRules(), container=pb.ContainerSpec()
    )
    for message in (a_message(), empty):
        spec = spec_from_pb(message)
        assert spec.rollout == RolloutSpec()
        assert spec.disconnect == DisconnectRules()
        assert spec.container == PLAIN_CONTAINER
        assert (spec.constraints, spec.labels) == ((), {})


@pytest.mark.parametrize("constraints", [[pb.Constraint()], [_WHOLE, pb.Constraint()]])
def test_an_empty_constraint_is_not_passed_over(constraints: list[pb.Constraint]) -> None:
    with pytest.raises(ValueError, match="ConstraintOperator"):
        spec_from_pb(a_message(constraints=constraints))


def test_constraints_and_labels_are_read_each_without_the_other() -> None:
    spec = spec_from_pb(a_message(constraints=[_WHOLE]))
    assert [constraint.values for constraint in spec.constraints] == [("ssd",)]
    assert spec.labels == {}
    spec = spec_from_pb(a_message(labels={"": ""}))
    assert (spec.constraints, spec.labels) == ((), {"": ""})
