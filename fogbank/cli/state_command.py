"""`fog audit state`: what was at a past moment."""

from typing import TYPE_CHECKING, Annotated

import typer

from fogbank.cli.output import AsTable, Output, OutputFormat, console, print_data

if TYPE_CHECKING:
    from fogbank.v1.audit_service_pb2 import GetStateAtResponse
    from fogbank.v1.moments_pb2 import Moment


def state(
    at: Annotated[
        str,
        typer.Option("--at", help="A log sequence, a time in ISO 8601, or '2 hours ago'."),
    ],
    thing: Annotated[
        str, typer.Argument(help="deployment, node or cluster, each /ID or /NAME; without it all.")
    ] = "",
    output: Output = AsTable,
) -> None:
    """Show what was at a past moment, exactly as it was shown then."""
    from fogbank.cli.connection import PAST_TIMEOUT_S, connect
    from fogbank.cli.moments import moment
    from fogbank.cli.record_command import resolved
    from fogbank.v1 import audit_service_pb2 as pb

    when = moment(at)
    request = pb.GetStateAtRequest()
    if when.HasField("time"):
        request.time.CopyFrom(when.time)
    else:
        request.sequence = when.sequence
    with connect() as connection:
        request.aggregate = resolved(connection, thing)
        then = connection.call(connection.audit.GetStateAt, request, PAST_TIMEOUT_S)
    _print(then, when, output, one=thing.startswith(("deployment/", "node/")))


def _print(then: "GetStateAtResponse", when: "Moment", output: OutputFormat, *, one: bool) -> None:
    from fogbank.cli.node_commands import print_node, print_nodes
    from fogbank.cli.show_commands import list_row, print_deployments, print_detail
    from fogbank.cli.views import TABLE_ONLY, deployment_detail, node_row

    deployments, nodes = list(then.deployments), [node_row(node) for node in then.nodes]
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        data = {
            "as_of_sequence": then.as_of_sequence,
            "deployments": [deployment_detail(each, {}) for each in deployments],
            "nodes": [{key: row[key] for key in row if key not in TABLE_ONLY} for row in nodes],
        }
        print_data(data, output)
        return
    if output is not OutputFormat.NAME:
        console().print(f"as of log sequence {then.as_of_sequence}", style="dim")
    if one:
        for deployment in deployments:
            print_detail(deployment_detail(deployment, {}), output)
        for row in nodes:
            print_node(row, output)
        return
    print_deployments(
        [list_row(each, when) for each in deployments], output, empty="no deployments"
    )
    print_nodes(nodes, output, empty="no nodes")
