"""Who may call what over gRPC: every method, by every role, and by tokens of every scope.

A method that isn't in the table below fails the first test: whoever adds one says who may use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest
from google.protobuf import json_format, message_factory

from fogbank.domain.position import sequence_of
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import deployment_service_pb2, identity_service_pb2
from services.gateway.core.service_accounts import Scope, includes
from services.gateway.grpc_api.scopes import FOR_PEOPLE, METHODS, scope_of
from tests.contract.gateway.test_authorization_grpc import OF_AGENTS, OPEN, methods
from tests.support.fleet_log import an_id
from tests.support.gateway import GatewayWorld, gateway_world, signed_in
from tests.support.who_may import Who

SPEC = {
    "name": "web",
    "type": "SERVICE_TYPE_COMPUTE",
    "containerImage": "nginx:1.27",
    "replicas": 1,
    "resources": {"cpuMillicores": 100, "memoryMib": 64},
    "clusterId": "{cluster}",
}
DEPLOYMENT = {"deploymentId": "{deployment}"}
ORGANIZATION = {"organizationId": "{organization}"}
NODE = {"node": "fog-1"}


@dataclass(frozen=True)
class Row:
    """Who may use a method, and what to send; `{...}` stands for the owner's things."""

    who: Who
    request: Mapping[str, Any] = field(default_factory=dict)


ROWS: dict[str, Row] = {
    "DeploymentService.CreateDeployment": Row(Who.OPERATORS, {"spec": SPEC}),
    "DeploymentService.CreateDeployments": Row(Who.OPERATORS, {"requests": [{"spec": SPEC}]}),
    "DeploymentService.SubmitDeployments": Row(Who.OPERATORS, {"requests": [{"spec": SPEC}]}),
    "DeploymentService.PlanDeployment": Row(Who.OPERATORS, {"spec": SPEC}),
    "DeploymentService.GetDeployment": Row(Who.AUTHOR, DEPLOYMENT),
    "DeploymentService.ListDeployments": Row(Who.SIGNED_IN),
    "DeploymentService.UpdateDeployment": Row(
        Who.OPERATING_AUTHOR,
        {**DEPLOYMENT, "spec": {"containerImage": "nginx:1.28"}, "updateMask": "containerImage"},
    ),
    "DeploymentService.GetRollout": Row(Who.AUTHOR, DEPLOYMENT),
    "DeploymentService.RollbackDeployment": Row(Who.OPERATING_AUTHOR, DEPLOYMENT),
    "DeploymentService.ScaleDeployment": Row(Who.OPERATING_AUTHOR, {**DEPLOYMENT, "replicas": 2}),
    "DeploymentService.DeleteDeployment": Row(Who.AUTHOR, {**DEPLOYMENT, "validateOnly": True}),
    "DeploymentService.ExplainDeployment": Row(Who.AUTHOR, DEPLOYMENT),
    "DeploymentService.WatchDeployments": Row(Who.SIGNED_IN),
    "NodeService.ListNodes": Row(Who.SIGNED_IN),
    "NodeService.GetNode": Row(Who.SIGNED_IN, NODE),
    "NodeService.ListNodeReplicas": Row(Who.SIGNED_IN, NODE),
    "NodeService.CordonNode": Row(Who.ADMINISTRATORS, NODE),
    "NodeService.UncordonNode": Row(Who.ADMINISTRATORS, NODE),
    "NodeService.DrainNode": Row(Who.ADMINISTRATORS, NODE),
    "NodeService.RemoveNode": Row(Who.ADMINISTRATORS, {"node": "fog-2", "force": True}),
    "NodeService.CreateJoinToken": Row(Who.ADMINISTRATORS),
    "NodeService.ListJoinTokens": Row(Who.ADMINISTRATORS),
    "NodeService.RevokeJoinToken": Row(Who.ADMINISTRATORS, {"tokenId": "nothing"}),
    "NodeService.PlanRebalance": Row(Who.ADMINISTRATORS),
    "NodeService.ApplyRebalance": Row(Who.ADMINISTRATORS, {"validateOnly": True}),
    "NodeService.GetRebalance": Row(Who.ADMINISTRATORS),
    "NodeService.WatchNodes": Row(Who.SIGNED_IN),
    "IdentityService.Logout": Row(Who.SIGNED_IN),
    "IdentityService.CreateOrganization": Row(Who.SIGNED_IN, {"name": "another"}),
    "IdentityService.JoinOrganization": Row(Who.SIGNED_IN, {"inviteCode": "nosuchcode1234"}),
    "IdentityService.ListOrganizations": Row(Who.SIGNED_IN),
    "IdentityService.ListMyOrganizations": Row(Who.SIGNED_IN),
    "IdentityService.ListMembers": Row(Who.MEMBERS, ORGANIZATION),
    "IdentityService.SetMemberRole": Row(
        Who.OWNERS, {**ORGANIZATION, "user": "vera", "role": "MEMBERSHIP_ROLE_VIEWER"}
    ),
    "IdentityService.RemoveMember": Row(Who.OWNERS, {**ORGANIZATION, "user": "nina"}),
    "IdentityService.GetInviteCode": Row(Who.OWNERS, ORGANIZATION),
    "IdentityService.RenewInviteCode": Row(Who.OWNERS, ORGANIZATION),
    "IdentityService.RevokeInviteCode": Row(Who.OWNERS, ORGANIZATION),
    "IdentityService.SetOrganizationQuota": Row(Who.ADMINISTRATORS, ORGANIZATION),
    "IdentityService.CreateCluster": Row(Who.OPERATORS, {**ORGANIZATION, "name": "mill"}),
    "IdentityService.ListClusters": Row(Who.SIGNED_IN),
    "IdentityService.GetClusterStatus": Row(Who.MEMBERS, {"clusterId": "{cluster}"}),
    "IdentityService.SetClusterQuota": Row(Who.OWNERS, {"clusterId": "{cluster}"}),
    "TokenService.CreateToken": Row(
        Who.OWNERS, {**ORGANIZATION, "name": "ci", "scopes": ["TOKEN_SCOPE_READ"]}
    ),
    "TokenService.ListTokens": Row(Who.OWNERS, ORGANIZATION),
    "TokenService.RevokeToken": Row(Who.OWNERS, {**ORGANIZATION, "tokenId": "{token}"}),
    "PolicyService.ListPolicies": Row(Who.SIGNED_IN),
    "PolicyService.ActivatePolicy": Row(
        Who.ADMINISTRATORS, {"name": "balanced", "validateOnly": True}
    ),
    "PolicyService.GetPolicyStatus": Row(Who.SIGNED_IN),
    "AuditService.ReadEvents": Row(Who.SIGNED_IN),
    "AuditService.GetStateAt": Row(Who.SIGNED_IN, {"sequence": 1}),
    "AuditService.VerifyLog": Row(Who.ADMINISTRATORS),
    "AuditService.GetLogCheckpoint": Row(Who.SIGNED_IN),
    "AuditService.GetLogScrub": Row(Who.ADMINISTRATORS),
    "AuditService.ProveCommit": Row(Who.ADMINISTRATORS, {"sequence": 1}),
    "AuditService.VerifyDecisions": Row(Who.ADMINISTRATORS),
    "AuditService.CompareReplay": Row(Who.ADMINISTRATORS, {"policyName": "balanced"}),
    "ReplicaService.ReadLogs": Row(Who.AUTHOR, DEPLOYMENT),
    "ReplicaService.Exec": Row(Who.OPERATING_AUTHOR, {**DEPLOYMENT, "command": ["true"]}),
}
# Nobody signs in here, and these streams stay open: others test what they say.
APART = {
    "IdentityService.Logout",
    "DeploymentService.WatchDeployments",
    "NodeService.WatchNodes",
}
ASKED = {name: row for name, row in ROWS.items() if name not in APART}
# What a caller is told for whom a thing isn't there.
_NOT_THERE = {"DEPLOYMENT_NOT_FOUND", "CLUSTER_NOT_FOUND", "ORGANIZATION_NOT_FOUND"}
_MEMBERS = {
    "vera": "MEMBERSHIP_ROLE_VIEWER",
    "nina": "MEMBERSHIP_ROLE_VIEWER",
    "otto": "MEMBERSHIP_ROLE_OPERATOR",
    "rex": "MEMBERSHIP_ROLE_OPERATOR",
}
REFUSED = {"ADMIN_ONLY", "ROLE_LACKING", "SCOPE_LACKING", "UNAUTHENTICATED"} | _NOT_THERE


def test_every_method_is_in_the_table() -> None:
    assert methods().keys() - OPEN - OF_AGENTS == ROWS.keys()


def test_every_method_has_a_scope_or_is_for_people() -> None:
    named = [name for names in (*METHODS.values(), FOR_PEOPLE) for name in names]
    assert sorted(named) == sorted(name.replace(".", "/") for name in ROWS)


@dataclass
class Tenants:
    """Alice's organization with a cluster and a deployment, and what others are to it."""

    world: GatewayWorld
    things: dict[str, Any] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)

    async def call(self, name: str, token: str, /, **more: Any) -> str:
        """Call a method about Alice's things and return why it was refused, empty if it wasn't."""
        method = methods()[name]
        content = self._filled({**ROWS[name].request, **more})
        kind: Any = message_factory.GetMessageClass(method.input_type)
        answer: Any = message_factory.GetMessageClass(method.output_type)
        request = json_format.ParseDict(content, kind())
        arity = f"{'stream' if method.client_streaming else 'unary'}_"
        arity += "stream" if method.server_streaming else "unary"
        call = getattr(self.world.channel, arity)(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=kind.SerializeToString,
            response_deserializer=answer.FromString,
        )
        sent = iter([request]) if method.client_streaming else request
        try:
            made = call(sent, metadata=signed_in(token), timeout=60)
            got = [each async for each in made] if method.server_streaming else [await made]
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error).reason
        return "".join(
            outcome.error_reason for each in got for outcome in getattr(each, "outcomes", ())
        )

    async def done(self, name: str, who: str, /, **content: Any) -> None:
        """Do something that must succeed."""
        assert await self.call(name, who, **content) == ""

    async def deploy(self, who: str) -> None:
        """Let somebody deploy something of their own."""
        kind = deployment_service_pb2.CreateDeploymentRequest
        request = json_format.ParseDict({"spec": self._filled(SPEC)}, kind())
        made = await self.world.deployment_service.CreateDeployment(
            request, metadata=signed_in(who)
        )
        self.own[who] = made.deployment.id

    async def token(self, *scopes: Scope, by: str = "admin", **content: Any) -> str:
        """Make a token of a service account and return it."""
        kind = methods()["TokenService.CreateToken"].input_type
        names = [f"TOKEN_SCOPE_{scope.name}" for scope in scopes]
        filled = self._filled({**ORGANIZATION, "name": "robot", "scopes": names, **content})
        request: Any = json_format.ParseDict(filled, message_factory.GetMessageClass(kind)())
        made = await self.world.token_service.CreateToken(request, metadata=signed_in(by))
        self.things["token"] = made.token.id
        return str(made.secret)

    def _filled(self, content: Any) -> Any:
        if isinstance(content, Mapping):
            return {name: self._filled(value) for name, value in content.items()}
        if isinstance(content, list):
            return [self._filled(each) for each in content]
        if isinstance(content, str) and content.startswith("{"):
            return self.things[content[1:-1]]
        return content


@pytest.fixture
async def tenants() -> AsyncIterator[Tenants]:
    async with gateway_world() as world:
        made = Tenants(world, {"organization": 2, "cluster": 2})
        for name in ("fog-1", "fog-2"):
            await world.connect_node(an_id(name), name)
        await made.done("IdentityService.CreateOrganization", "alice", name="ours")
        await made.done("IdentityService.CreateCluster", "alice", name="edge")
        await made.done("IdentityService.CreateOrganization", "mallory", name="theirs")
        await made.deploy("alice")
        whose = identity_service_pb2.GetInviteCodeRequest(organization_id=2)
        for name, role in _MEMBERS.items():
            invite = await world.identity_service.GetInviteCode(whose, metadata=signed_in("alice"))
            await made.done("IdentityService.JoinOrganization", name, inviteCode=invite.invite.code)
            await made.deploy(name)
            await made.done("IdentityService.SetMemberRole", "alice", user=name, role=role)
        await made.done("IdentityService.RemoveMember", "alice", user="rex")
        made.things["deployment"] = made.own["alice"]
        await made.token(Scope.READ)
        yield made


@pytest.mark.parametrize("who", ["mallory", "rex"])
async def test_for_strangers_and_removed_members_it_is_not_there(
    tenants: Tenants, who: str
) -> None:
    for name, row in ASKED.items():
        reason = await tenants.call(name, who)
        if row.who is Who.ADMINISTRATORS:
            assert reason == "ADMIN_ONLY", name
        elif row.who is Who.SIGNED_IN:
            assert reason not in REFUSED, name
        else:
            assert reason in _NOT_THERE, name


@pytest.mark.parametrize("who", ["vera", "otto"])
async def test_what_a_member_may_see_and_change(tenants: Tenants, who: str) -> None:
    for name, row in ASKED.items():
        reason = await tenants.call(name, who)
        match row.who:
            case Who.ADMINISTRATORS:
                assert reason == "ADMIN_ONLY", name
            case Who.SIGNED_IN | Who.MEMBERS:
                assert reason not in REFUSED, name
            case Who.AUTHOR | Who.OPERATING_AUTHOR:
                assert reason == "DEPLOYMENT_NOT_FOUND", (name, "it is another member's")
            case Who.OPERATORS if who == "otto":
                assert reason == "", name
            case _:
                assert reason == "ROLE_LACKING", name


@pytest.mark.parametrize("who", ["vera", "otto", "rex"])
async def test_what_an_author_may_do_by_role(tenants: Tenants, who: str) -> None:
    tenants.things["deployment"] = tenants.own[who]
    for name, row in ASKED.items():
        if row.who is Who.AUTHOR or (row.who is Who.OPERATING_AUTHOR and who == "otto"):
            assert await tenants.call(name, who) not in REFUSED, name
        elif row.who is Who.OPERATING_AUTHOR:
            expected = "ROLE_LACKING" if who == "vera" else "CLUSTER_NOT_FOUND"
            assert await tenants.call(name, who) == expected, name


@pytest.mark.parametrize("who", ["alice", "admin"])
async def test_owners_and_administrators_may_do_all_of_it(tenants: Tenants, who: str) -> None:
    for name, row in ASKED.items():
        reason = await tenants.call(name, who)
        if row.who is Who.ADMINISTRATORS and who == "alice":
            assert reason == "ADMIN_ONLY", name
        else:
            assert reason not in REFUSED, name


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_token_does_what_it_is_for_and_nothing_else(tenants: Tenants, scope: Scope) -> None:
    token = await tenants.token(scope)
    for name, row in ASKED.items():
        reason = await tenants.call(name, token)
        wanted = scope_of(f"/fogbank.v1.{name.replace('.', '/')}")
        if wanted is None or not includes([scope], wanted):
            assert reason == "SCOPE_LACKING", name
        elif row.who in {Who.AUTHOR, Who.OPERATING_AUTHOR}:
            assert reason == "DEPLOYMENT_NOT_FOUND", name
        else:
            assert reason not in REFUSED, name


async def test_a_token_of_another_organization_is_a_strangers(tenants: Tenants) -> None:
    token = await tenants.token(Scope.ADMIN, by="mallory", organizationId=3)
    for name, row in ASKED.items():
        reason = await tenants.call(name, token)
        if row.who is Who.ADMINISTRATORS or f"{name.replace('.', '/')}" in FOR_PEOPLE:
            assert reason == "SCOPE_LACKING", name
        elif row.who is Who.SIGNED_IN:
            assert reason not in REFUSED, name
        else:
            assert reason in _NOT_THERE, name


async def test_a_revoked_or_unknown_token_is_nobodys(tenants: Tenants) -> None:
    token = await tenants.token(*Scope)
    await tenants.done("TokenService.RevokeToken", "alice")
    for name in ASKED:
        for each in (token, f"{token[:-1]}_"):
            assert await tenants.call(name, each) == "UNAUTHENTICATED", name


@pytest.mark.parametrize("scope", [Scope.NODES, Scope.AUDIT])
async def test_an_owner_gives_nothing_beyond_the_organization(
    tenants: Tenants, scope: Scope
) -> None:
    names = [f"TOKEN_SCOPE_{scope.name}", "TOKEN_SCOPE_READ"]
    assert await tenants.call("TokenService.CreateToken", "alice", scopes=names) == "ADMIN_ONLY"
    assert await tenants.call("TokenService.CreateToken", "admin", scopes=names) == ""


async def test_the_log_has_the_service_account_as_the_actor(tenants: Tenants) -> None:
    token = await tenants.token(Scope.DEPLOY, by="alice")
    await tenants.deploy(token)
    deployment = tenants.world.fold.fleet.facts.deployments[tenants.own[token]]
    commit = await tenants.world.fold.commit(sequence_of(deployment.created_position))
    (envelope,) = commit.envelopes
    assert envelope.actor == f"service-account/{deployment.owner_id}"
    # A second token of the account goes on with what the first began.
    tenants.things["deployment"] = tenants.own[token]
    other = await tenants.token(Scope.DEPLOY, by="alice")
    await tenants.done("DeploymentService.ScaleDeployment", other, replicas=3)
