"""`fog token`: tokens by which programs act for an organization."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import UsageFailure
from fogbank.cli.listing import lists
from fogbank.cli.output import AsTable, Column, Output, OutputFormat, print_data, print_list
from fogbank.cli.quota_flags import RequestId

if TYPE_CHECKING:
    from fogbank.v1 import token_service_pb2

app = typer.Typer(help="Make, list and revoke tokens of an organization's service accounts.")

_SCOPES = ("read", "deploy", "nodes", "audit", "admin")
_COLUMNS = (
    Column("ID", "id"),
    Column("ACCOUNT", "account"),
    Column("SCOPES", "scopes"),
    Column("STATE", "state"),
    Column("EXPIRES", "expires_at"),
    Column("LAST USED", "last_used_at"),
    Column("ACCOUNT ID", "account_id", wide=True),
)

Organization = Annotated[str, typer.Option("--org", help="The organization's number or name.")]


@app.command("create")
def create(  # noqa: PLR0917  one parameter for each flag
    name: Annotated[str, typer.Argument(help="The service account; made if there is none.")],
    org: Organization,
    scope: Annotated[
        list[str],
        typer.Option("--scope", help=f"What it is for: {', '.join(_SCOPES)}; may be repeated."),
    ],
    ttl: Annotated[str, typer.Option("--ttl", help="How long it works, as 12h or 90d.")] = "90d",
    request_id: RequestId = "",
    output: Output = AsTable,
) -> None:
    """Make a token of a service account; it is shown this once. Owners only."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.durations import milliseconds
    from fogbank.cli.tenancy_lookups import organization_number
    from fogbank.v1 import token_service_pb2 as pb

    request = pb.CreateTokenRequest(
        request_id=request_id or str(uuid4()), name=name, scopes=[_scope(each) for each in scope]
    )
    request.lifetime.FromMilliseconds(milliseconds(ttl))
    with connect() as connection:
        request.organization_id = organization_number(connection, org)
        made = connection.call(connection.tokens.CreateToken, request)
    if output is OutputFormat.NAME:
        print(made.secret)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data({"secret": made.secret, **_row(made.token)}, output)
    else:
        row = _row(made.token)
        print(f"token {row['id']} of {row['account']}, until {row['expires_at']}; shown this once:")
        print(f"FOG_TOKEN={made.secret}")


@lists(app)
def list_tokens(org: Organization, output: Output = AsTable) -> None:
    """List an organization's tokens, also those that work no more; never the secrets."""
    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import organization_number
    from fogbank.v1 import token_service_pb2 as pb

    with connect() as connection:
        number = organization_number(connection, org)
        request, rows = pb.ListTokensRequest(organization_id=number, page_size=1_000), []
        while True:
            page = connection.call(connection.tokens.ListTokens, request)
            rows += [_row(each) for each in page.tokens]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    print_list(rows, _COLUMNS, output, name_key="id", empty="no tokens; `fog token create`")


@app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    org: Organization,
) -> None:
    """Let a token work no more, at any gateway; what its account made stays."""
    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import organization_number
    from fogbank.v1 import token_service_pb2 as pb

    with connect() as connection:
        number = organization_number(connection, org)
        request = pb.RevokeTokenRequest(organization_id=number, token_id=token_id)
        answer = connection.call(connection.tokens.RevokeToken, request)
    print(f"token {answer.token.id} of {answer.token.account} revoked")


def _scope(word: str) -> "token_service_pb2.TokenScope.ValueType":
    from fogbank.v1 import token_service_pb2 as pb

    if word.lower() not in _SCOPES:
        raise UsageFailure(f"--scope must be one of {', '.join(_SCOPES)}, got {word!r}")
    return pb.TokenScope.Value(f"TOKEN_SCOPE_{word.upper()}")


def _row(token: "token_service_pb2.ApiToken") -> dict[str, Any]:
    from datetime import UTC, datetime

    from fogbank.cli.views import instant
    from fogbank.v1 import token_service_pb2 as pb

    state = "works"
    if token.HasField("revoked_at"):
        state = "revoked"
    elif token.expires_at.ToDatetime(tzinfo=UTC) <= datetime.now(UTC):
        state = "expired"
    return {
        "id": token.id,
        "account": token.account,
        "account_id": token.account_id,
        "organization_id": token.organization_id,
        "scopes": ",".join(
            pb.TokenScope.Name(each).removeprefix("TOKEN_SCOPE_").lower() for each in token.scopes
        ),
        "state": state,
        "created_at": instant(token.created_at),
        "expires_at": instant(token.expires_at),
        "last_used_at": instant(token.last_used_at) if token.HasField("last_used_at") else None,
    }
