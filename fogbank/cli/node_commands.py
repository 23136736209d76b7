"""`fog nodes`: the fleet."""

from typing import Annotated

import typer

from fogbank.cli import node_changes
from fogbank.cli.output import (
    AsTable,
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

_COLUMNS = (
    Column("NAME", "name"),
    Column("STATUS", "status"),
    Column("RUNTIME", "runtime"),
    Column("REGION", "region"),
    Column("REPLICAS", "replicas"),
    Column("CPU", "cpu"),
    Column("MEMORY MB", "memory"),
    Column("STORAGE GB", "storage"),
    Column("GPU", "gpu"),
    Column("REASON", "reason"),
    Column("DRAIN UNTIL", "drain_deadline", wide=True),
    Column("CPU %", "cpu_usage_percent", wide=True),
    Column("MEMORY %", "memory_usage_percent", wide=True),
    Column("GPU MODEL", "gpu_model", wide=True),
    Column("LABELS", "labels", wide=True),
    Column("ID", "id", wide=True),
)


@app.callback()
def nodes(context: typer.Context, output: Output = AsTable) -> None:
    """List the fleet's nodes, or show one. Amounts are booked/allocatable."""
    if context.invoked_subcommand is None:
        _list(output)


@app.command("list")
def list_nodes(output: Output = AsTable) -> None:
    """List the fleet's nodes. Amounts are booked/allocatable."""
    _list(output)


def _list(output: OutputFormat) -> None:
    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import all_nodes
    from fogbank.cli.views import TABLE_ONLY, node_row

    with connect() as connection:
        rows = [node_row(node) for node in all_nodes(connection)]
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        rows = [{key: row[key] for key in row if key not in TABLE_ONLY} for row in rows]
    print_list(
        rows, _COLUMNS, output, name_key="name", empty="no nodes; start an agent, or `fog up`"
    )


@app.command("show")
def show(
    node: Annotated[str, typer.Argument(help="Its name or id.")], output: Output = AsTable
) -> None:
    """Show one node."""
    from fogbank.cli.connection import connect
    from fogbank.cli.output import as_text
    from fogbank.cli.views import TABLE_ONLY, node_row
    from fogbank.v1 import node_service_pb2

    with connect() as connection:
        answer = connection.call(
            connection.nodes.GetNode, node_service_pb2.GetNodeRequest(node=node)
        )
    row = node_row(answer.node)
    detail = {key: value for key, value in row.items() if key not in TABLE_ONLY}
    if output is OutputFormat.NAME:
        print(row["name"])
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(detail, output)
    else:
        screen = console()
        for key, value in detail.items():
            screen.print(f"{key.replace('_', ' ') + ':':<22}{as_text(value)}", markup=False)
