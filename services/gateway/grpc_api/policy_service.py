"""PolicyService: shows the policy that decisions are made by."""

from __future__ import annotations

from typing import Any

import grpc.aio

from fogbank.codec.policies import policy_to_pb
from fogbank.domain.errors import UnimplementedError
from fogbank.domain.position import sequence_of
from fogbank.v1 import policy_service_pb2 as pb
from fogbank.v1 import policy_service_pb2_grpc as rpc
from services.gateway.app.fold import FleetFold
from services.gateway.app.principal import current_principal

Context = grpc.aio.ServicerContext[Any, Any]


class PolicyService(rpc.PolicyServiceServicer):
    """Answers for policies, to everybody who is signed in."""

    def __init__(self, fold: FleetFold) -> None:
        self._fold = fold

    async def ListPolicies(
        self, request: pb.ListPoliciesRequest, context: Context
    ) -> pb.ListPoliciesResponse:
        """List the policies of the fleet: so far, the active one."""
        current_principal()
        return pb.ListPoliciesResponse(policies=[policy_to_pb(self._fold.fleet.facts.policy)])

    async def ActivatePolicy(
        self, request: pb.ActivatePolicyRequest, context: Context
    ) -> pb.ActivatePolicyResponse:
        """Not built yet."""
        raise UnimplementedError("ActivatePolicy is not built yet")

    async def GetPolicyStatus(
        self, request: pb.GetPolicyStatusRequest, context: Context
    ) -> pb.GetPolicyStatusResponse:
        """Show the active policy."""
        current_principal()
        facts = self._fold.fleet.facts
        return pb.GetPolicyStatusResponse(
            policy=policy_to_pb(facts.policy),
            activated_at_sequence=sequence_of(facts.policy_position),
        )
