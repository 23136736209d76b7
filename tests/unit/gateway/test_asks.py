"""What callers may ask for, and what they are told when they may not."""

from dataclasses import replace
from typing import Any

import pytest

from fogbank.domain.deployment import Constraint, DisconnectRules, RolloutSpec
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.policy import STRATEGY_NAMES
from fogbank.domain.resources import Resources
from fogbank.domain.states import ConstraintOperator, RestartPolicy, ServiceType
from services.gateway.core.asks import (
    Ask,
    ask_of,
    check_replicas,
    check_request_id,
    spec_of,
)
from services.gateway.core.bounds import GRPC_BOUNDS, REST_BOUNDS, grpc_bounds
from services.gateway.core.disconnecting import disconnect_problems

GOOD = Ask(
    name="web.api 1",
    type="compute",
    container_image="nginx:latest",
    replicas=3,
    cpu_millicores=2000,
    memory_mib=2048,
    storage_gib=20,
)


def refused(ask: Ask, bounds: Any = REST_BOUNDS) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        spec_of(ask, bounds)
    return caught.value.message


def test_a_good_ask_becomes_a_spec_with_defaults() -> None:
    spec = spec_of(GOOD, REST_BOUNDS)

    assert spec.type is ServiceType.COMPUTE
    assert spec.resources == Resources(2000, 2048, 20, 0)
    assert (spec.region, spec.priority, spec.cluster_id) == ("us-east", 50, 1)
    assert spec.restart is RestartPolicy.ALWAYS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replicas": 0}, "replicas: must be between 1 and 10, got 0"),
        ({"replicas": 11}, "replicas: must be between 1 and 10, got 11"),
        (
            {"cpu_millicores": 499.9},
            "resources.cpu: must be between 0.5 and 16 cores, got 0.4999",
        ),
        ({"cpu_millicores": 16001}, "resources.cpu: must be between 0.5 and 16 cores, got 16.001"),
        (
            {"cpu_millicores": float("nan")},
            "resources.cpu: must be between 0.5 and 16 cores, got nan",
        ),
        (
            {"cpu_millicores": float("inf")},
            "resources.cpu: must be between 0.5 and 16 cores, got inf",
        ),
        ({"memory_mib": 511}, "resources.memory: must be between 512 and 16384 MB, got 511"),
        ({"storage_gib": 0}, "resources.storage: must be between 1 and 1000 GB, got 0"),
        ({"gpu_thousandths": 9000}, "resources.gpu: must be between 0 and 8 GPUs, got 9"),
        ({"name": ""}, "name: must be 1 to 100 characters, got 0"),
        ({"name": "x" * 101}, "name: must be 1 to 100 characters, got 101"),
        ({"name": "two\nlines"}, "name: must be printable, got 'two\\nlines'"),
        ({"name": "half a \ud800"}, "name: must be printable"),
        ({"container_image": "i" * 513}, "container_image: must be 1 to 512 characters, got 513"),
        ({"container_image": "a b"}, "container_image: must hold no space, got 'a b'"),
        ({"region": "us east"}, "region: must be 1 to 63 letters"),
        ({"priority": 101}, "priority: must be 0 to 100 or one of low"),
        ({"priority": "urgent"}, "got 'urgent'"),
        ({"cluster_id": 0}, "cluster_id: must be between 1 and 9223372036854775807, got 0"),
        ({"cluster_id": -1}, "cluster_id: must be between 1 and 9223372036854775807, got -1"),
        ({"strategy": "magic"}, f"strategy: must be one of {list(STRATEGY_NAMES)}, got 'magic'"),
        ({"gpu_model": "x" * 101}, "gpu_model: must be 1 to 100 characters"),
        ({"labels": {str(n): "" for n in range(65)}}, "labels: must be at most 64, got 65"),
        ({"labels": {"": "x"}}, "labels: a key must be 1 to 128 characters, got 0"),
        ({"labels": {"a": "x" * 257}}, "labels['a']: must be 1 to 256 characters, got 257"),
        (
            {"disconnect": DisconnectRules(lost_after_ms=99)},
            "disconnect.lost_after_ms: must be 0 for the default, or 100 to 604800000, got 99",
        ),
        (
            {"disconnect": DisconnectRules(stop_on_client_after_ms=604_800_001)},
            "disconnect.stop_on_client_after_ms: must be 0 for the default, or 1000 to 604800000",
        ),
        (
            {"disconnect": DisconnectRules(stop_on_client_after_ms=999)},
            "stop_on_client_after_ms: must be 0 for the default, or 1000 to 604800000, got 999",
        ),
        (
            {"disconnect": DisconnectRules(30_000, stop_on_client_after_ms=20_000)},
            "a container has to end must be below lost_after_ms 30000, got 20000: else a slot",
        ),
        ({"env": {"A=B": "x"}}, "env: a name must be 1 to 256 printable characters without '='"),
        ({"env": {str(n): "" for n in range(257)}}, "env: must be at most 256 entries, got 257"),
        ({"env": {"A": "x" * 65536}}, "env: must be at most 65536 bytes in all, got 65537"),
        ({"env": {"A": "secret\0"}}, "env['A']: must not hold a zero character"),
        ({"env": {"A": "secret\ud800"}}, "env['A']: must be text that UTF-8 can carry"),
    ],
)
def test_a_bad_ask_is_refused_with_field_bounds_and_value(
    changes: dict[str, Any], message: str
) -> None:
    said = refused(replace(GOOD, **changes))

    assert message in said
    assert "secret" not in said


def test_stopping_what_is_cut_off_must_be_over_before_the_policy_replaces_it() -> None:
    rules = DisconnectRules(stop_on_client_after_ms=20_000)
    assert list(disconnect_problems(rules)) == []
    assert list(disconnect_problems(rules, 30_001)) == []
    ((field, problem),) = disconnect_problems(rules, 30_000)
    assert field == "disconnect.stop_on_client_after_ms"
    assert "must be below the policy's lost_after_ms 30000, got 20000" in problem
    # What is never replaced may be stopped at any time.
    assert list(disconnect_problems(replace(rules, replace=False), 30_000)) == []


def test_an_ask_can_be_made_of_a_spec_and_comes_to_it_again() -> None:
    ask = replace(
        GOOD,
        gpu_thousandths=1_500,
        labels={"a": "b"},
        constraints=(Constraint("region", ConstraintOperator.IN, ("eu",)),),
        allow_colocation=True,
        rollout=RolloutSpec(max_surge=2),
        cluster_id=3,
    )
    spec = spec_of(ask, REST_BOUNDS)
    assert spec.resources.gpu_thousandths == 1_500, "one GPU and half of another"
    assert spec_of(ask_of(spec), REST_BOUNDS) == spec


def test_an_unknown_type_is_refused_in_the_words_of_the_documents() -> None:
    said = refused(replace(GOOD, type="invalid"))

    assert said == "Invalid type. Must be one of: ['compute', 'storage', 'gateway', 'mixnode']"
    assert refused(replace(GOOD, type=0), GRPC_BOUNDS).startswith("Invalid type.")


def test_an_unknown_type_names_its_field_as_each_face_has_it() -> None:
    for bounds, field in ((REST_BOUNDS, "type"), (GRPC_BOUNDS, "spec.type")):
        with pytest.raises(InvalidArgumentError) as caught:
            spec_of(replace(GOOD, type="web"), bounds)

        (violation,) = caught.value.violations
        assert violation.field == field
        assert violation.description.endswith("got 'web'")


def test_a_type_that_is_left_out_is_named_so() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        spec_of(replace(GOOD, type=0), GRPC_BOUNDS)

    assert caught.value.violations[0].description.endswith("got none")


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        spec_of(replace(GOOD, name="", replicas=5000, memory_mib=0), GRPC_BOUNDS)

    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["spec.name", "spec.replicas", "spec.resources.memory_mib"]


@pytest.mark.parametrize(
    ("given", "priority"),
    [(None, 50), (0, 0), (100, 100), ("low", 20), ("HIGH", 80), ("Silver", 40), ("platinum", 80)],
)
def test_priorities_may_be_numbers_or_words(given: Any, priority: int) -> None:
    assert spec_of(replace(GOOD, priority=given), REST_BOUNDS).priority == priority


@pytest.mark.parametrize(
    ("operator", "values", "good"),
    [
        (ConstraintOperator.EQUAL, ("a",), True),
        (ConstraintOperator.EQUAL, (), False),
        (ConstraintOperator.NOT_EQUAL, ("a", "b"), False),
        (ConstraintOperator.IN, ("a", "b"), True),
        (ConstraintOperator.IN, (), False),
        (ConstraintOperator.EXISTS, (), True),
        (ConstraintOperator.EXISTS, ("a",), False),
    ],
)
def test_constraints_take_as_many_values_as_their_operator(
    operator: ConstraintOperator, values: tuple[str, ...], good: bool
) -> None:
    ask = replace(GOOD, constraints=(Constraint("label.zone", operator, values),))
    if good:
        assert spec_of(ask, REST_BOUNDS).constraints == ask.constraints
    else:
        assert refused(ask).startswith("constraints[0].values: must be ")


@pytest.mark.parametrize("attribute", ["", "zone", "label.", "Region", "label.a\n"])
def test_constraints_name_attributes_that_nodes_have(attribute: str) -> None:
    ask = replace(GOOD, constraints=(Constraint(attribute, ConstraintOperator.EXISTS),))

    assert "constraints[0].attribute: must be region, arch, node or label.<key>" in refused(ask)


def test_the_other_face_has_its_own_bounds_and_words() -> None:
    bounds = grpc_bounds(max_cpu_millicores=64_000)

    assert spec_of(replace(GOOD, replicas=1000), bounds).replicas == 1000
    assert "spec.resources.cpu_millicores: must be between 1 and 64000, got 0" in refused(
        replace(GOOD, cpu_millicores=0), bounds
    )


def test_numbers_of_replicas_and_request_ids_are_checked_alone_too() -> None:
    check_replicas(10, REST_BOUNDS.replicas)
    check_request_id("")
    with pytest.raises(InvalidArgumentError, match="must be between 1 and 10, got 11"):
        check_replicas(11, REST_BOUNDS.replicas)
    with pytest.raises(InvalidArgumentError, match="request_id: must be 1 to 128 characters"):
        check_request_id("x" * 129)
