"""`fog org`: organizations, their members and their invite codes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.confirming import Yes, confirm
from fogbank.cli.failures import UsageFailure
from fogbank.cli.listing import lists
from fogbank.cli.output import (
    AsTable,
    Column,
    Output,
    OutputFormat,
    as_text,
    console,
    print_data,
    print_list,
)
from fogbank.cli.quota_flags import COLUMNS as QUOTA_COLUMNS
from fogbank.cli.quota_flags import (
    Cpu,
    Gpu,
    Memory,
    Replicas,
    RequestId,
    Storage,
    Unlimited,
    wanted_quota,
)

if TYPE_CHECKING:
    from fogbank.v1 import facts_pb2, identity_service_pb2

app = typer.Typer(help="Make, join and list organizations; members, roles, invite codes.")

OrganizationArgument = Annotated[str, typer.Argument(help="Its number or name.")]
UserArgument = Annotated[str, typer.Argument(help="The member's name or id.")]

_COLUMNS = (
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("ROLE", "role"),
    Column("INVITE CODE", "invite_code"),
)
_QUOTA_COLUMNS = (Column("ID", "id"), Column("NAME", "name"), *QUOTA_COLUMNS)
_MEMBER_COLUMNS = (
    Column("NAME", "username"),
    Column("ROLE", "role"),
    Column("ID", "user_id", wide=True),
)
_ROLES = ("owner", "operator", "viewer")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name.")],
    request_id: RequestId = "",
    output: Output = AsTable,
) -> None:
    """Make an organization that you own; others join by its invite code."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.v1 import identity_service_pb2

    request = identity_service_pb2.CreateOrganizationRequest(
        request_id=request_id or str(uuid4()), name=name
    )
    with connect() as connection:
        answer = connection.call(connection.identity.CreateOrganization, request)
    made = answer.organization
    _print(made, output, f"made; others join with: fog org join {made.invite_code}")


@app.command("join")
def join(
    code: Annotated[str, typer.Argument(help="The invite code.")],
    request_id: RequestId = "",
    output: Output = AsTable,
) -> None:
    """Join an organization by its invite code."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_views import role_word
    from fogbank.v1 import identity_service_pb2

    request = identity_service_pb2.JoinOrganizationRequest(
        request_id=request_id or str(uuid4()), invite_code=code
    )
    with connect() as connection:
        joined = connection.call(connection.identity.JoinOrganization, request).organization
    _print(joined, output, f"joined; you are {role_word(joined.role)} there")


@lists(app)
def list_organizations(output: Output = AsTable) -> None:
    """List all organizations, with your role in each."""
    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import all_organizations
    from fogbank.cli.tenancy_views import organization_row

    with connect() as connection:
        rows = [organization_row(each) for each in all_organizations(connection)]
    print_list(rows, _COLUMNS, output, name_key="id", empty="no organizations")


@app.command("mine")
def mine(output: Output = AsTable) -> None:
    """List your own organizations."""
    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_views import organization_row
    from fogbank.v1 import identity_service_pb2

    request = identity_service_pb2.ListMyOrganizationsRequest()
    with connect() as connection:
        answer = connection.call(connection.identity.ListMyOrganizations, request)
    rows = [organization_row(each) for each in answer.organizations]
    print_list(rows, _COLUMNS, output, name_key="id", empty="no organizations")


@app.command("members")
def members(organization: OrganizationArgument, output: Output = AsTable) -> None:
    """List an organization's members."""
    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import organization_number
    from fogbank.cli.tenancy_views import member_row
    from fogbank.v1 import identity_service_pb2

    with connect() as connection:
        request = identity_service_pb2.ListMembersRequest(
            organization_id=organization_number(connection, organization)
        )
        answer = connection.call(connection.identity.ListMembers, request)
    empty = "everybody, as operators" if answer.everybody else "no members"
    rows = [member_row(member) for member in answer.members]
    print_list(rows, _MEMBER_COLUMNS, output, name_key="user_id", empty=empty)


@app.command("role")
def role(
    organization: OrganizationArgument,
    user: UserArgument,
    role: Annotated[str, typer.Argument(help="owner, operator or viewer.")],
    request_id: RequestId = "",
) -> None:
    """Give a member another role; owners only."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import organization_number
    from fogbank.v1 import identity_service_pb2

    wanted = _role(role)
    with connect() as connection:
        request = identity_service_pb2.SetMemberRoleRequest(
            request_id=request_id or str(uuid4()),
            organization_id=organization_number(connection, organization),
            user=user,
            role=wanted,
        )
        member = connection.call(connection.identity.SetMemberRole, request).member
    print(f"{member.username or member.user_id} is {role.lower()} now")


@app.command("remove")
def remove(
    organization: OrganizationArgument,
    user: Annotated[
        str, typer.Argument(help="The member's name or id; you yourself without it.")
    ] = "",
    yes: Yes = False,
    request_id: RequestId = "",
) -> None:
    """Remove a member, or leave. The invite code that others know of is replaced."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import organization_number
    from fogbank.v1 import identity_service_pb2

    if not yes:
        confirm(
            f"Remove {user} from organization {organization}?"
            if user
            else f"Leave organization {organization}?"
        )
    with connect() as connection:
        request = identity_service_pb2.RemoveMemberRequest(
            request_id=request_id or str(uuid4()),
            organization_id=organization_number(connection, organization),
            user=user,
        )
        connection.call(connection.identity.RemoveMember, request)
    print(f"{user} removed" if user else "you left")


@app.command("invite")
def invite(  # noqa: PLR0917  one parameter for each flag
    organization: OrganizationArgument,
    renew: Annotated[bool, typer.Option("--renew", help="Replace the code.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Let nobody join by it.")] = False,
    expires: Annotated[
        str, typer.Option("--expires", help="With --renew: how long it works, as 30m or 168h.")
    ] = "",
    uses: Annotated[
        int, typer.Option("--uses", min=0, help="With --renew: by how many users; 0 for any.")
    ] = 0,
    role: Annotated[
        str, typer.Option("--role", help="With --renew: the role it gives, operator or viewer.")
    ] = "operator",
    request_id: RequestId = "",
    output: Output = AsTable,
) -> None:
    """Show an organization's invite code, replace or revoke it; owners only."""
    if renew and revoke:
        raise UsageFailure("give either --renew or --revoke, not both")
    if not renew and (expires or uses):
        raise UsageFailure("limits belong to a new code", hint="add --renew")
    found = _invite(
        organization,
        {"expires": expires, "uses": uses, "role": role} if renew else None,
        request_id,
        revoke=revoke,
    )
    if output is OutputFormat.NAME:
        print(found["invite_code"] or "")
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(found, output)
    else:
        screen = console()
        for key, value in found.items():
            screen.print(f"{key.replace('_', ' ') + ':':<14}{as_text(value)}", markup=False)


def _invite(
    organization: str, limits: dict[str, Any] | None, request_id: str, *, revoke: bool
) -> dict[str, Any]:
    """Return the code, after replacing it (with limits) or revoking it."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.durations import milliseconds
    from fogbank.cli.tenancy_lookups import organization_number
    from fogbank.cli.tenancy_views import invite_row
    from fogbank.v1 import identity_service_pb2 as pb

    known_as = request_id or str(uuid4())
    with connect() as connection:
        number = organization_number(connection, organization)
        if limits is not None:
            request = pb.RenewInviteCodeRequest(
                request_id=known_as,
                organization_id=number,
                max_uses=limits["uses"],
                role=_role(limits["role"]),
            )
            if limits["expires"]:
                request.expires_in.FromMilliseconds(milliseconds(limits["expires"]))
            return invite_row(connection.call(connection.identity.RenewInviteCode, request).invite)
        if revoke:
            connection.call(
                connection.identity.RevokeInviteCode,
                pb.RevokeInviteCodeRequest(request_id=known_as, organization_id=number),
            )
        shown = connection.call(
            connection.identity.GetInviteCode, pb.GetInviteCodeRequest(organization_id=number)
        )
    return invite_row(shown.invite)


@app.command("quota")
def quota(  # noqa: PLR0917  one parameter for each flag
    organization: OrganizationArgument,
    cpu: Cpu = None,
    memory: Memory = None,
    storage: Storage = None,
    gpu: Gpu = None,
    replicas: Replicas = None,
    unlimited: Unlimited = False,
    request_id: RequestId = "",
    output: Output = AsTable,
) -> None:
    """Show the quota of all of an organization's clusters, or replace it, administrators only."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import all_organizations, organization_number
    from fogbank.cli.tenancy_views import quota_row
    from fogbank.v1 import identity_service_pb2

    wanted = wanted_quota(cpu, memory, storage, gpu, replicas, unlimited=unlimited)
    with connect() as connection:
        number = organization_number(connection, organization)
        if wanted is None:
            found = [each for each in all_organizations(connection) if each.id == number]
            rows = [{"id": each.id, "name": each.name, **quota_row(each.quota)} for each in found]
            print_list(rows, _QUOTA_COLUMNS, output, name_key="id", empty="no such organization")
            return
        request = identity_service_pb2.SetOrganizationQuotaRequest(
            request_id=request_id or str(uuid4()), organization_id=number, quota=wanted
        )
        answer = connection.call(connection.identity.SetOrganizationQuota, request)
    _print(answer.organization, output, "has another quota")


def _role(word: str) -> "facts_pb2.MembershipRole.ValueType":
    from fogbank.v1 import facts_pb2

    if word.lower() not in _ROLES:
        raise UsageFailure(f"a role must be one of {', '.join(_ROLES)}, got {word!r}")
    return facts_pb2.MembershipRole.Value(f"MEMBERSHIP_ROLE_{word.upper()}")


def _print(
    organization: "identity_service_pb2.Organization", output: OutputFormat, done: str
) -> None:
    from fogbank.cli.tenancy_views import organization_row

    if output is OutputFormat.NAME:
        print(organization.id)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(organization_row(organization), output)
    else:
        print(f"organization {organization.id} ({organization.name}) {done}")
