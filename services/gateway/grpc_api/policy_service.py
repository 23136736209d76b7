"""PolicyService: shows and chooses the policy that decisions are made by."""

from __future__ import annotations

from typing import Any

import grpc.aio

from fogbank.codec.policies import policy_from_pb, policy_to_pb
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.policy import Policy
from fogbank.v1 import policy_service_pb2 as pb
from fogbank.v1 import policy_service_pb2_grpc as rpc
from services.gateway.app.policies import Policies
from services.gateway.app.principal import current_principal

Context = grpc.aio.ServicerContext[Any, Any]


class PolicyService(rpc.PolicyServiceServicer):
    """Messages to use cases and back."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    async def ListPolicies(
        self, request: pb.ListPoliciesRequest, context: Context
    ) -> pb.ListPoliciesResponse:
        """List the active policy and the known ones."""
        current_principal()
        return pb.ListPoliciesResponse(
            policies=[policy_to_pb(policy) for policy in self._policies.list()]
        )

    async def ActivatePolicy(
        self, request: pb.ActivatePolicyRequest, context: Context
    ) -> pb.ActivatePolicyResponse:
        """Activate a policy, given whole or by a known name."""
        activated = await self._policies.activate(
            current_principal(),
            _wanted(request),
            request.request_id,
            validate_only=request.validate_only,
        )
        return pb.ActivatePolicyResponse(
            policy=policy_to_pb(activated.policy), activated_at_sequence=activated.sequence
        )

    async def GetPolicyStatus(
        self, request: pb.GetPolicyStatusRequest, context: Context
    ) -> pb.GetPolicyStatusResponse:
        """Show the active policy."""
        current_principal()
        active = self._policies.active()
        return pb.GetPolicyStatusResponse(
            policy=policy_to_pb(active.policy), activated_at_sequence=active.sequence
        )


def _wanted(request: pb.ActivatePolicyRequest) -> Policy | str:
    if request.HasField("policy") == bool(request.name):
        raise InvalidArgumentError.of_field("policy", "give either a whole policy or a known name")
    return request.name or policy_from_pb(request.policy)
