"""`fog nodes`: the fleet."""

from typing import Any

import typer

from fogbank.cli import node_changes, token_commands
from fogbank.cli.listing import lists
from fogbank.cli.output import (
    AsTable,
    At,
    Column,
    Output,
    OutputFormat,
    console,
    print_data,
    print_list,
)

app = typer.Typer(
    help="List the fleet's nodes, show, cordon, drain or remove one.", invoke_without_command=True
)
app.command("cordon")(node_changes.cordon)
app.command("uncordon")(node_changes.uncordon)
app.command("drain")(node_changes.drain)
app.command("remove")(node_changes.remove)
app.add_typer(token_commands.app, name="token")

_COLUMNS = (
    Column("NAME", "name"),
    Column("STATUS", "status"),
    Column("RUNTIME", "runtime"),
    Column("REGION", "region"),
    Column("REPLICAS", "replicas"),
    Column("CPU", "cpu"),
    Column("MEMORY MiB", "memory"),
    Column("STORAGE GiB", "storage"),
    Column("GPU", "gpu"),
    Column("DRAIN UNTIL", "drain_deadline", wide=True),
    Column("CPU %", "cpu_usage_percent", wide=True),
    Column("MEMORY %", "memory_usage_percent", wide=True),
    Column("GPU MODEL", "gpu_model", wide=True),
    Column("LABELS", "labels", wide=True),
    Column("ID", "id", wide=True),
    Column("REASON", "reason"),
)


@app.callback()
def nodes(context: typer.Context, at: At = "", output: Output = AsTable) -> None:
    """List the fleet's nodes, or show one. Amounts are booked/allocatable."""
    if context.invoked_subcommand is None:
        _list(output, at)


@lists(app)
def list_nodes(at: At = "", output: Output = AsTable) -> None:
    """List the fleet's nodes. Amounts are booked/allocatable."""
    _list(output, at)


def _list(output: OutputFormat, at: str) -> None:
    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import all_nodes
    from fogbank.cli.moments import moment
    from fogbank.cli.views import node_row

    as_of = moment(at) if at else None
    with connect() as connection:
        rows = [node_row(node) for node in all_nodes(connection, as_of)]
    print_nodes(rows, output)


def print_nodes(
    rows: list[dict[str, Any]],
    output: OutputFormat,
    empty: str = "no nodes; start an agent, or `fog up`",
) -> None:
    """Print a list of nodes, made of rows of `views.node_row`."""
    from fogbank.cli.views import TABLE_ONLY

    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        rows = [{key: row[key] for key in row if key not in TABLE_ONLY} for row in rows]
    print_list(rows, _COLUMNS, output, name_key="name", empty=empty)


@app.command("show")
def show(node: node_changes.NodeArgument, at: At = "", output: Output = AsTable) -> None:
    """Show one node, and the replicas on it; with --at the node as it was, by its name then."""
    from fogbank.cli.connection import PAST_TIMEOUT_S, connect
    from fogbank.cli.lookups import node_reference
    from fogbank.cli.moments import moment
    from fogbank.cli.node_replicas import print_replicas, replica_rows, replicas_on
    from fogbank.cli.views import node_row
    from fogbank.v1 import moments_pb2, node_service_pb2

    as_of = moment(at) if at else None
    request = node_service_pb2.GetNodeRequest(as_of=as_of)
    with connect() as connection:
        request.node = node_reference(connection, node, as_of)
        if as_of is None:
            shown = connection.call(connection.nodes.GetNode, request).node
        else:
            answer = connection.call(connection.nodes.GetNode, request, PAST_TIMEOUT_S)
            # A time is a commit from here on, so that both answers are of the same moment.
            shown, as_of = answer.node, moments_pb2.Moment(sequence=answer.as_of_sequence)
        there = replicas_on(connection, shown.id, as_of)
    row, replicas = node_row(shown), replica_rows(there)
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        row["placed_replicas"] = replicas
    print_node(row, output)
    if output in {OutputFormat.TABLE, OutputFormat.WIDE} and there.total_size:
        print()
        print_replicas(replicas, there.total_size, wide=output is OutputFormat.WIDE)


def print_node(row: dict[str, Any], output: OutputFormat) -> None:
    """Print all about one node, given its row of `views.node_row`."""
    from fogbank.cli.output import as_text
    from fogbank.cli.views import TABLE_ONLY

    detail = {key: value for key, value in row.items() if key not in TABLE_ONLY}
    if output is OutputFormat.NAME:
        print(row["name"])
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(detail, output)
    else:
        screen = console()
        for key, value in detail.items():
            screen.print(f"{key.replace('_', ' ') + ':':<22}{as_text(value)}", markup=False)
