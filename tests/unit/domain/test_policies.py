"""What a policy may say, and the ones that are known by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.codec.policies import policy_from_pb, policy_to_pb
from fogbank.domain.named_policies import NAMED_POLICIES
from fogbank.domain.policy import (
    STRATEGY_NAMES,
    AskClass,
    ObjectiveWeights,
    Policy,
    PowerModel,
    ResourceWeights,
)
from fogbank.domain.policy_bounds import problems
from fogbank.domain.resources import Resources
from fogbank.placement import STRATEGIES
from fogbank.v1 import policies_pb2


def test_every_strategy_has_its_name_in_the_domain_and_a_policy() -> None:
    assert set(STRATEGY_NAMES) == set(STRATEGIES)
    assert {policy.strategy for policy in NAMED_POLICIES.values()} == set(STRATEGIES)
    assert all(name == policy.name for name, policy in NAMED_POLICIES.items())


@pytest.mark.parametrize("name", sorted(NAMED_POLICIES))
def test_known_policies_are_allowed_and_travel_unharmed(name: str) -> None:
    policy = NAMED_POLICIES[name]
    assert problems(policy) == []
    assert policy_from_pb(policy_to_pb(policy)) == policy


def test_parts_that_a_message_leaves_out_are_the_defaults() -> None:
    policy = policy_from_pb(policies_pb2.Policy(name="bare", strategy="spread"))
    default = Policy()
    assert (policy.weights, policy.objectives) == (default.weights, default.objectives)
    assert (policy.reference, policy.power) == (default.reference, default.power)
    assert (policy.ties, policy.latency_half_ms) == (default.ties, default.latency_half_ms)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"strategy": "best"}, "strategy"),
        ({"resource_weight": float("nan")}, "resource_weight"),
        ({"locality_weight": 1.5}, "locality_weight"),
        ({"objectives": ObjectiveWeights(energy=-0.1)}, "objectives.energy"),
        ({"weights": ResourceWeights(cpu=-1)}, "weights.cpu"),
        ({"retry_backoff_ms": (1, -2)}, "retry_backoff_ms[1]"),
        ({"retry_backoff_ms": (1,) * 101}, "retry_backoff_ms"),
        ({"busy_load_percent": 101}, "busy_load_percent"),
        ({"latency_half_ms": 0}, "latency_half_ms"),
        ({"latency_ms": {"a": {"b": -1}}}, "latencies[a, b].round_trip_ms"),
        ({"classes": (AskClass("x", "best"),)}, "classes[0].strategy"),
        ({"classes": (AskClass("x", "spread", -1),)}, "classes[0].gpu_from_thousandths"),
        ({"reference": Resources(-1)}, "reference.cpu_millicores"),
        ({"power": PowerModel(5, 3, 9)}, "power"),
    ],
)
def test_what_is_out_of_bounds_is_named(changes: dict[str, object], field: str) -> None:
    found = problems(replace(Policy(), **changes))  # type: ignore[arg-type]
    assert [problem.field for problem in found] == [field]
