"""`fog nodes token`: what lets hosts join."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.durations import milliseconds
from fogbank.cli.listing import lists
from fogbank.cli.output import AsTable, Column, Output, OutputFormat, print_data, print_list

if TYPE_CHECKING:
    from fogbank.v1 import node_service_pb2

app = typer.Typer(
    help="Make a token with which hosts join; list and revoke tokens.", invoke_without_command=True
)

_COLUMNS = (
    Column("ID", "id"),
    Column("STATE", "state"),
    Column("USES", "uses"),
    Column("OF", "max_uses"),
    Column("CREATED", "created_at"),
    Column("EXPIRES", "expires_at"),
    Column("NOT CONNECTED YET", "waiting_nodes"),
)

Uses = Annotated[int, typer.Option("--uses", min=1, help="How many hosts may join with it.")]
Lifetime = Annotated[str, typer.Option("--ttl", help="How long it lasts, as 90s, 10m or 1h.")]
RequestId = Annotated[
    str, typer.Option("--request-id", help="Makes a repeat of this command safe.")
]


@app.callback()
def token(
    context: typer.Context,
    uses: Uses = 1,
    ttl: Lifetime = "1h",
    request_id: RequestId = "",
    output: Output = AsTable,
) -> None:
    """Make a token with which hosts join, and say what to do with it. Administrators only."""
    if context.invoked_subcommand is not None:
        return
    from uuid import uuid4

    from fogbank.cli.connection import called_address, connect
    from fogbank.v1 import node_service_pb2

    request = node_service_pb2.CreateJoinTokenRequest(
        request_id=request_id or str(uuid4()), uses=uses
    )
    request.lifetime.FromMilliseconds(milliseconds(ttl))
    with connect() as connection:
        made = connection.call(connection.nodes.CreateJoinToken, request)
        join_address = called_address()
    host = join_address.rpartition(":")[0]
    _show(made, join_address, f"{host}:{made.agent_port}", output)


def _show(
    made: "node_service_pb2.CreateJoinTokenResponse",
    join_address: str,
    agent_address: str,
    output: OutputFormat,
) -> None:
    from fogbank.cli.views import instant

    if output is OutputFormat.NAME:
        print(made.token)
        return
    row = {
        "token": made.token,
        "id": made.token_id,
        "expires_at": instant(made.expires_at),
        "join_address": join_address,
        "agent_address": agent_address,
    }
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(row, output)
        return
    print(f"A token that lasts until {row['expires_at']}; it is shown this once. On the host:\n")
    print(f"FOG_JOIN_TOKEN={made.token} \\")
    print(f"FOG_JOIN_ADDR={join_address} FOG_GATEWAY_ADDRS={agent_address} \\")
    print("FOG_DATA_DIR=/var/lib/fogbank python -m services.node_agent.main")


@lists(app)
def list_tokens(output: Output = AsTable) -> None:
    """List the tokens that were made, without their secrets."""
    from fogbank.cli.connection import connect
    from fogbank.v1 import node_service_pb2

    with connect() as connection:
        answer = connection.call(
            connection.nodes.ListJoinTokens, node_service_pb2.ListJoinTokensRequest()
        )
    rows = [_row(each) for each in answer.tokens]
    print_list(rows, _COLUMNS, output, name_key="id", empty="no tokens; `fog nodes token`")


@app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    request_id: RequestId = "",
) -> None:
    """Let nobody join with a token any more; nodes that did, stay."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.v1 import node_service_pb2

    with connect() as connection:
        answer = connection.call(
            connection.nodes.RevokeJoinToken,
            node_service_pb2.RevokeJoinTokenRequest(
                request_id=request_id or str(uuid4()), token_id=token_id
            ),
        )
    print(f"token {answer.token.id} revoked")


def _row(token: "node_service_pb2.JoinToken") -> dict[str, Any]:
    from datetime import UTC, datetime

    from fogbank.cli.views import instant

    state = "open"
    if token.revoked:
        state = "revoked"
    elif token.uses >= token.max_uses:
        state = "used up"
    elif token.expires_at.ToDatetime(tzinfo=UTC) <= datetime.now(UTC):
        state = "expired"
    return {
        "id": token.id,
        "state": state,
        "uses": token.uses,
        "max_uses": token.max_uses,
        "created_at": instant(token.created_at),
        "expires_at": instant(token.expires_at),
        "waiting_nodes": list(token.waiting_node_ids),
    }
