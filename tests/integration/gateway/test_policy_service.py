"""PolicyService: what is known, who may activate what, and what the log says of it afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from fogbank.codec.policies import policy_to_pb
from fogbank.domain.policy import AskClass, Policy, Ties
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import policies_pb2
from fogbank.v1 import policy_service_pb2 as pb
from tests.support.gateway import GatewayWorld, gateway_world, refusal, signed_in


@pytest.fixture
async def world() -> AsyncIterator[GatewayWorld]:
    async with gateway_world() as made:
        yield made


async def activate(world: GatewayWorld, who: str = "admin", **request: Any) -> Any:
    return await world.policy_service.ActivatePolicy(
        pb.ActivatePolicyRequest(**request), metadata=signed_in(who)
    )


async def active(world: GatewayWorld) -> pb.GetPolicyStatusResponse:
    answer: pb.GetPolicyStatusResponse = await world.policy_service.GetPolicyStatus(
        pb.GetPolicyStatusRequest(), metadata=signed_in("alice")
    )
    return answer


async def test_a_known_policy_is_activated_by_name(world: GatewayWorld) -> None:
    answer = await activate(world, name="binpack", request_id="1")
    assert (answer.policy.name, answer.policy.strategy) == ("binpack", "binpack")
    assert answer.policy.version == 2, "genesis activated the first"
    assert world.fold.fleet.facts.policy.title == "binpack@2"
    now = await active(world)
    assert now.policy == answer.policy
    assert now.activated_at_sequence == answer.activated_at_sequence > 1
    again = await activate(world, name="binpack", request_id="1")
    assert again == answer, "a repeat gets the first one's answer"
    later = await activate(world, name="balanced", request_id="2")
    assert later.policy.version == 3
    assert await activate(world, name="binpack", request_id="1") == answer


async def test_the_active_one_comes_first_and_the_known_follow(world: GatewayWorld) -> None:
    await activate(world, name="spread")
    listed = await world.policy_service.ListPolicies(
        pb.ListPoliciesRequest(), metadata=signed_in("alice")
    )
    titles = [(policy.name, policy.version) for policy in listed.policies]
    assert titles[:2] == [("spread", 2), ("balanced", 0)]
    assert len(titles) == len({name for name, _ in titles})


async def test_a_whole_policy_comes_back_as_it_was_given(world: GatewayWorld) -> None:
    wanted = Policy(
        name="ours",
        strategy="least-allocated",
        classes=(AskClass("urgent", "first-fit", 0, 60),),
        ties=Ties.HASH,
        retry_backoff_ms=(10, 20),
        latency_ms={"us-east": {"eu": 90}},
    )
    message = policy_to_pb(wanted)
    message.version = 77
    answer = await activate(world, policy=message)
    message.version = 2
    assert answer.policy == message


async def test_only_administrators_activate(world: GatewayWorld) -> None:
    refused = await refusal(activate(world, "alice", name="binpack"))
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (await active(world)).policy.name == "balanced"


async def test_what_is_wrong_is_named_with_what_is_allowed(world: GatewayWorld) -> None:
    message = policy_to_pb(Policy(strategy="best", busy_load_percent=101, retry_backoff_ms=(-1,)))
    refused = await refusal(activate(world, policy=message))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    wrong = {one.field: one.description for one in from_rpc_error(refused).violations}
    names = ("strategy", "busy_load_percent", "retry_backoff_ms[0]")
    assert set(wrong) == {f"policy.{name}" for name in names}
    assert wrong["policy.busy_load_percent"] == "must be 0 to 100, got 101"
    assert "'balanced'" in wrong["policy.strategy"]
    assert wrong["policy.strategy"].endswith("got 'best'")
    assert (await active(world)).policy.version == 1


async def test_a_check_changes_nothing(world: GatewayWorld) -> None:
    answer = await activate(world, name="binpack", validate_only=True)
    assert (answer.policy.name, answer.activated_at_sequence) == ("binpack", 0)
    assert (await active(world)).policy.version == 1


async def test_an_unknown_name_and_a_missing_choice_are_refused(world: GatewayWorld) -> None:
    unknown = await refusal(activate(world, name="no-such"))
    assert unknown.code() is grpc.StatusCode.NOT_FOUND
    assert "binpack" in (unknown.details() or "")
    neither = await refusal(activate(world))
    assert neither.code() is grpc.StatusCode.INVALID_ARGUMENT
    both = await refusal(activate(world, name="binpack", policy=policies_pb2.Policy()))
    assert both.code() is grpc.StatusCode.INVALID_ARGUMENT
