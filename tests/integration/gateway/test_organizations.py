"""Organizations over gRPC: who joins, who may do what, and that a repeat changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from fogbank.domain import events as ev
from fogbank.domain.tenancy import MembershipRole
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import facts_pb2, resources_pb2
from fogbank.v1 import identity_service_pb2 as pb
from fogbank.v1 import token_service_pb2 as token_pb
from tests.support.fleet_log import an_id
from tests.support.gateway import GatewayWorld, gateway_world, memory_logs, refusal, signed_in
from tests.support.named_users import ALICE, BOB, CAROL
from tests.support.tenancy import MemoryInvites

OWNER = facts_pb2.MEMBERSHIP_ROLE_OWNER
OPERATOR = facts_pb2.MEMBERSHIP_ROLE_OPERATOR
VIEWER = facts_pb2.MEMBERSHIP_ROLE_VIEWER


@dataclass
class Caller:
    """IdentityService as one user sees it."""

    world: GatewayWorld
    name: str

    def __getattr__(self, method: str) -> Callable[..., Any]:
        request = getattr(pb, f"{method}Request")
        call = getattr(self.world.identity_service, method)
        return lambda **fields: call(request(**fields), metadata=signed_in(self.name))

    async def refused(self, method: str, **fields: Any) -> tuple[grpc.StatusCode, str]:
        error = await refusal(getattr(self, method)(**fields))
        return error.code(), from_rpc_error(error).reason


@pytest.fixture
def alice(world: GatewayWorld) -> Caller:
    return Caller(world, "alice")


@pytest.fixture
def bob(world: GatewayWorld) -> Caller:
    return Caller(world, "bob")


@pytest.fixture
def carol(world: GatewayWorld) -> Caller:
    return Caller(world, "carol")


@pytest.fixture
def admin(world: GatewayWorld) -> Caller:
    return Caller(world, "admin")


@pytest.fixture
async def ours(alice: Caller) -> Any:
    """Organization 2, alice's."""
    return (await alice.CreateOrganization(name="ours", request_id="1")).organization


@pytest.fixture
async def shared(ours: Any, bob: Caller) -> Any:
    """Organization 2 with bob in it as an operator."""
    return (await bob.JoinOrganization(invite_code=ours.invite_code)).organization


async def test_who_makes_one_owns_it_and_sees_its_code(ours: Any, alice: Caller) -> None:
    assert (ours.id, ours.name, ours.role) == (2, "ours", OWNER)
    assert ours.invite_code
    mine = (await alice.ListMyOrganizations()).organizations
    assert [(each.id, each.role) for each in mine] == [(1, OPERATOR), (2, OWNER)]
    assert mine[1] == ours
    assert mine[0].invite_code == "", "nobody need join what belongs to everybody"


async def test_a_repeat_gets_the_same_answer(ours: Any, alice: Caller, bob: Caller) -> None:
    again = await alice.CreateOrganization(name="ours", request_id="1")
    assert again.organization == ours
    other = await alice.CreateOrganization(name="ours", request_id="2")
    assert other.organization.id == 3, "names need not differ"
    reused = await alice.refused("CreateOrganization", name="theirs", request_id="1")
    assert reused == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    first = await bob.JoinOrganization(invite_code=ours.invite_code, request_id="j")
    await alice.RenewInviteCode(organization_id=2)
    await alice.SetMemberRole(organization_id=2, user="bob", role=VIEWER)
    second = await bob.JoinOrganization(invite_code=ours.invite_code, request_id="j")
    assert second.organization.id == first.organization.id == 2
    members = alice.world.fold.fleet.facts.organizations[2].members
    assert members[BOB.user_id] is MembershipRole.VIEWER


async def test_strangers_see_names_and_nothing_else(
    ours: Any, alice: Caller, bob: Caller, admin: Caller
) -> None:
    seen = (await bob.ListOrganizations()).organizations
    assert seen[1] == pb.Organization(id=2, name="ours")
    assert (await alice.ListOrganizations()).organizations[1] == ours
    assert (await admin.ListOrganizations()).organizations[1].invite_code == ""
    assert [each.id for each in (await bob.ListMyOrganizations()).organizations] == [1]
    not_found = (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")
    for method, fields in (
        ("ListMembers", {}),
        ("SetMemberRole", {"user": "alice", "role": VIEWER}),
        ("RemoveMember", {"user": "alice"}),
        ("GetInviteCode", {}),
        ("RenewInviteCode", {}),
        ("RevokeInviteCode", {}),
        ("CreateCluster", {"name": "edge"}),
    ):
        assert await bob.refused(method, organization_id=2, **fields) == not_found
        assert await alice.refused(method, organization_id=77, **fields) == not_found


async def test_organizations_come_in_pages(ours: Any, alice: Caller) -> None:
    first = await alice.ListOrganizations(page_size=1)
    assert ([each.id for each in first.organizations], first.total_size) == ([1], 2)
    second = await alice.ListOrganizations(page_size=1, page_token=first.next_page_token)
    assert ([each.id for each in second.organizations], second.next_page_token) == ([2], "")


async def test_a_member_joins_by_the_code_and_not_by_another(
    ours: Any, shared: Any, bob: Caller, carol: Caller
) -> None:
    assert (shared.id, shared.role, shared.invite_code) == (2, OPERATOR, "")
    listed = await bob.ListMembers(organization_id=2)
    assert [(each.username, each.role) for each in listed.members] == [
        ("alice", OWNER),
        ("bob", OPERATOR),
    ]
    assert not listed.everybody
    wrong = await carol.refused("JoinOrganization", invite_code="no-such-code")
    assert wrong == (grpc.StatusCode.NOT_FOUND, "INVITE_NOT_FOUND")
    for code in ("", "x" * 65):
        empty = await carol.refused("JoinOrganization", invite_code=code)
        assert empty == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_who_is_in_already_stays_what_they_are(
    ours: Any, alice: Caller, world: GatewayWorld
) -> None:
    before = await world.fold.log_end()
    again = (await alice.JoinOrganization(invite_code=ours.invite_code)).organization
    assert again == ours
    assert await world.fold.log_end() == before, "there is nothing to write down"


async def test_no_code_is_in_the_log(shared: Any, ours: Any, world: GatewayWorld) -> None:
    for sequence in range(1, world.fold.position + 1):
        assert ours.invite_code not in repr(await world.fold.commit(sequence))


async def test_a_renewed_code_gives_its_role_within_its_limits(
    ours: Any, alice: Caller, bob: Caller, carol: Caller
) -> None:
    asked = {"organization_id": 2, "max_uses": 1, "role": VIEWER, "request_id": "r"}
    invite = (await alice.RenewInviteCode(**asked)).invite
    assert (await alice.RenewInviteCode(**asked)).invite == invite, "a repeat"
    assert invite.code != ours.invite_code
    gone = await bob.refused("JoinOrganization", invite_code=ours.invite_code)
    assert gone == (grpc.StatusCode.NOT_FOUND, "INVITE_NOT_FOUND")
    joined = (await bob.JoinOrganization(invite_code=invite.code)).organization
    assert joined.role == VIEWER
    used_up = await carol.refused("JoinOrganization", invite_code=invite.code)
    assert used_up == (grpc.StatusCode.NOT_FOUND, "INVITE_NOT_FOUND")
    shown = (await alice.GetInviteCode(organization_id=2)).invite
    assert (shown.code, shown.uses, shown.max_uses) == (invite.code, 1, 1)


async def test_a_revoked_code_lets_nobody_in(ours: Any, alice: Caller, bob: Caller) -> None:
    await alice.RevokeInviteCode(organization_id=2)
    refused = await bob.refused("JoinOrganization", invite_code=ours.invite_code)
    assert refused == (grpc.StatusCode.NOT_FOUND, "INVITE_NOT_FOUND")
    assert (await alice.GetInviteCode(organization_id=2)).invite.code == ""
    assert (await alice.ListMyOrganizations()).organizations[1].invite_code == ""
    invite = (await alice.RenewInviteCode(organization_id=2)).invite
    assert (await bob.JoinOrganization(invite_code=invite.code)).organization.id == 2


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"max_uses": -1}, "max_uses"),
        ({"max_uses": 1_000_001}, "max_uses"),
        ({"expires_in": {"seconds": 0}}, "expires_in"),
        ({"expires_in": {"seconds": 400 * 86400}}, "expires_in"),
        ({"role": OWNER}, "role"),
        ({"role": 9}, "role"),
        ({"organization_id": 1}, "organization_id"),
        ({"request_id": "x" * 129}, "request_id"),
    ],
)
async def test_limits_of_a_code_have_bounds(
    ours: Any, admin: Caller, fields: dict[str, Any], wrong: str
) -> None:
    error = await refusal(admin.RenewInviteCode(**({"organization_id": 2} | fields)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [each.field for each in from_rpc_error(error).violations] == [wrong]


async def test_owners_give_roles_and_others_do_not(
    shared: Any, alice: Caller, bob: Caller, carol: Caller
) -> None:
    denied = await bob.refused("SetMemberRole", organization_id=2, user="bob", role=OWNER)
    assert denied == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_LACKING")
    asked = {"organization_id": 2, "user": "bob", "role": OWNER, "request_id": "r"}
    made = (await alice.SetMemberRole(**asked)).member
    assert (made.username, made.user_id, made.role) == ("bob", BOB.user_id, OWNER)
    by_id = await bob.SetMemberRole(organization_id=2, user=ALICE.user_id, role=VIEWER)
    assert by_id.member.username == "alice"
    assert (await alice.SetMemberRole(**asked)).member == made, "a repeat"
    unknown = await bob.refused("SetMemberRole", organization_id=2, user="carol", role=OWNER)
    assert unknown == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")
    none = await bob.refused("SetMemberRole", organization_id=2, user="alice")
    assert none == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_an_organization_keeps_an_owner(shared: Any, alice: Caller, admin: Caller) -> None:
    kept = (grpc.StatusCode.FAILED_PRECONDITION, "LAST_OWNER")
    for who in (alice, admin):
        demote = {"organization_id": 2, "user": "alice", "role": VIEWER}
        assert await who.refused("SetMemberRole", **demote) == kept
        assert await who.refused("RemoveMember", organization_id=2, user="alice") == kept


async def test_who_is_removed_does_not_come_back_by_the_code_they_know(
    shared: Any, ours: Any, alice: Caller, bob: Caller
) -> None:
    removal = {"organization_id": 2, "user": "bob", "request_id": "r"}
    await alice.RemoveMember(**removal)
    assert [each.id for each in (await bob.ListMyOrganizations()).organizations] == [1]
    refused = await bob.refused("JoinOrganization", invite_code=ours.invite_code)
    assert refused == (grpc.StatusCode.NOT_FOUND, "INVITE_NOT_FOUND")
    await alice.RemoveMember(**removal)
    code = (await alice.ListMyOrganizations()).organizations[1].invite_code
    assert code not in {"", ours.invite_code}


async def test_a_member_may_leave_and_return(shared: Any, ours: Any, bob: Caller) -> None:
    await bob.RemoveMember(organization_id=2)
    assert [each.id for each in (await bob.ListMyOrganizations()).organizations] == [1]
    back = await bob.JoinOrganization(invite_code=ours.invite_code)
    assert back.organization.role == OPERATOR


async def test_administrators_set_an_organizations_quota(
    ours: Any, alice: Caller, admin: Caller
) -> None:
    quota = resources_pb2.Quota(cpu_millicores=8000, replicas=0)
    denied = await alice.refused("SetOrganizationQuota", organization_id=2, quota=quota)
    assert denied == (grpc.StatusCode.PERMISSION_DENIED, "ADMIN_ONLY")
    changed = await admin.SetOrganizationQuota(organization_id=2, quota=quota)
    assert changed.organization.quota == quota
    assert (await alice.ListMyOrganizations()).organizations[1].quota == quota
    error = await refusal(
        admin.SetOrganizationQuota(organization_id=2, quota=resources_pb2.Quota(memory_mib=-1))
    )
    wrong = from_rpc_error(error).violations
    assert [(each.field, "got -1" in each.description) for each in wrong] == [
        ("quota.memory_mib", True)
    ]
    unknown = await admin.refused("SetOrganizationQuota", organization_id=9)
    assert unknown == (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")


@pytest.mark.parametrize("name", ["", " ours", "x" * 101, "a\nb"])
async def test_names_have_bounds(alice: Caller, name: str) -> None:
    for method in ("CreateOrganization", "CreateCluster"):
        error = await refusal(getattr(alice, method)(name=name))
        assert [each.field for each in from_rpc_error(error).violations] == ["name"]


@pytest.fixture
async def two_gateways() -> AsyncIterator[tuple[GatewayWorld, GatewayWorld]]:
    logs, invites = memory_logs(), MemoryInvites()
    async with (
        gateway_world(logs, invites=invites) as one,
        gateway_world(logs, instance="two", invites=invites) as two,
    ):
        yield one, two


async def test_two_gateways_agree(two_gateways: tuple[GatewayWorld, GatewayWorld]) -> None:
    one, two = two_gateways
    made = await Caller(one, "alice").CreateOrganization(name="ours", request_id="1")
    ours = made.organization
    again = await Caller(two, "alice").CreateOrganization(name="ours", request_id="1")
    assert again.organization == ours, "a repeat at another gateway"
    joined = await Caller(two, "bob").JoinOrganization(invite_code=ours.invite_code)
    assert joined.organization.id == ours.id
    # A gateway that has not read the log that far catches up before it refuses anything.
    made = await Caller(one, "bob").CreateCluster(name="edge", organization_id=ours.id)
    status = await Caller(two, "alice").GetClusterStatus(cluster_id=made.cluster.id)
    assert status.cluster == made.cluster
    assert one.fold.fleet.facts.organizations == two.fold.fleet.facts.organizations


async def test_a_code_of_another_log_lets_nobody_in() -> None:
    invites = MemoryInvites()
    async with gateway_world(invites=invites) as former:
        made = await Caller(former, "alice").CreateOrganization(name="ours")
    async with gateway_world(invites=invites) as world:
        await Caller(world, "carol").CreateOrganization(name="theirs")
        code = made.organization.invite_code
        refused = await Caller(world, "bob").refused("JoinOrganization", invite_code=code)
        assert refused == (grpc.StatusCode.NOT_FOUND, "INVITE_NOT_FOUND")
        assert CAROL.user_id == an_id("carol")


async def test_membership_events_say_who_and_which_role(shared: Any, world: GatewayWorld) -> None:
    last = await world.fold.commit(world.fold.position)
    assert last.envelopes[0].event == ev.MembershipSet(2, BOB.user_id, MembershipRole.OPERATOR)
    assert last.envelopes[0].actor == f"user/{BOB.user_id}"
    assert last.envelopes[0].aggregate == "organization/2"


async def test_looking_makes_no_invite_code() -> None:
    logs, lost = memory_logs(), MemoryInvites()
    async with gateway_world(logs, invites=MemoryInvites()) as world:
        made = await Caller(world, "alice").CreateOrganization(name="ours", request_id="1")
        assert made.organization.invite_code
    # The database of invite codes was lost.
    async with gateway_world(logs, instance="two", invites=lost) as world:
        alice = Caller(world, "alice")
        listed = (await alice.ListOrganizations()).organizations
        mine = (await alice.ListMyOrganizations()).organizations
        shown = (await alice.GetInviteCode(organization_id=2)).invite
        assert [each.invite_code for each in (*listed, *mine) if each.id == 2] == ["", ""]
        assert shown.code == ""
        again = await alice.CreateOrganization(name="ours", request_id="1")
        assert again.organization.invite_code, "a repeat is a command"


async def test_tokens_are_listed_in_pages(shared: Any, world: GatewayWorld) -> None:
    alice, service = signed_in("alice"), world.token_service
    for number in range(5):
        request = token_pb.CreateTokenRequest(
            organization_id=2, name=f"ci-{number}", scopes=[token_pb.TOKEN_SCOPE_READ]
        )
        await service.CreateToken(request, metadata=alice)
    asked = token_pb.ListTokensRequest(organization_id=2)
    everything = await service.ListTokens(asked, metadata=alice)
    assert (len(everything.tokens), everything.total_size) == (5, 5)
    assert not everything.next_page_token
    asked.page_size = 2
    pages: list[list[str]] = []
    while not pages or asked.page_token:
        page = await service.ListTokens(asked, metadata=alice)
        pages.append([each.id for each in page.tokens])
        asked.page_token = page.next_page_token
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page] == [each.id for each in everything.tokens]
    for field, wrong in (
        ("page_size", token_pb.ListTokensRequest(organization_id=2, page_size=1_001)),
        ("page_token", token_pb.ListTokensRequest(organization_id=2, page_token="x")),
    ):
        error = await refusal(service.ListTokens(wrong, metadata=alice))
        assert [each.field for each in from_rpc_error(error).violations] == [field]
