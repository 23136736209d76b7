"""`fog nodes cordon`, `uncordon`, `drain` and `remove`."""

from typing import TYPE_CHECKING, Annotated

import typer

from fogbank.cli.confirming import Yes, confirm
from fogbank.cli.durations import milliseconds
from fogbank.cli.output import AsTable, Output, OutputFormat, print_data

if TYPE_CHECKING:
    from fogbank.v1 import nodes_pb2

NodeArgument = Annotated[str, typer.Argument(help="Its name, its id, or the beginning of its id.")]
RequestId = Annotated[
    str, typer.Option("--request-id", help="Makes a repeat of this command safe.")
]


Reason = Annotated[str, typer.Option("--reason", help="Why, for those who look.")]


def cordon(
    node: NodeArgument,
    reason: Reason = "",
    request_id: RequestId = "",
    output: Output = AsTable,
) -> None:
    """Let a node take nothing new; what runs there stays."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import node_reference
    from fogbank.v1 import node_service_pb2

    with connect() as connection:
        answer = connection.call(
            connection.nodes.CordonNode,
            node_service_pb2.CordonNodeRequest(
                request_id=request_id or str(uuid4()),
                node=node_reference(connection, node),
                reason=reason,
            ),
        )
    _print(answer.node, output, "takes nothing new")


def uncordon(node: NodeArgument, request_id: RequestId = "", output: Output = AsTable) -> None:
    """Let a node take replicas again, and drain it no more."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import node_reference
    from fogbank.v1 import node_service_pb2

    with connect() as connection:
        reference = node_reference(connection, node)
        asked = node_service_pb2.GetNodeRequest(node=reference)
        before = connection.call(connection.nodes.GetNode, asked).node
        answer = connection.call(
            connection.nodes.UncordonNode,
            node_service_pb2.UncordonNodeRequest(
                request_id=request_id or str(uuid4()), node=reference
            ),
        )
    was_out = before.cordoned or before.draining
    _print(
        answer.node,
        output,
        "takes replicas again" if was_out else "was not cordoned: nothing to do",
    )


def drain(  # noqa: PLR0917  one parameter for each flag
    node: NodeArgument,
    deadline: Annotated[
        str,
        typer.Option("--deadline", help="Stop what is left after this time, as 90s, 10m or 1h."),
    ] = "",
    reason: Reason = "",
    request_id: RequestId = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until nothing is left on it.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 600,
    output: Output = AsTable,
) -> None:
    """Move a node's replicas elsewhere, each after its successor runs."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import node_reference
    from fogbank.cli.waiting import wait_drained
    from fogbank.v1 import node_service_pb2

    request = node_service_pb2.DrainNodeRequest(
        request_id=request_id or str(uuid4()), reason=reason
    )
    if deadline:
        request.deadline.FromMilliseconds(milliseconds(deadline))
    with connect() as connection:
        request.node = node_reference(connection, node)
        drained = connection.call(connection.nodes.DrainNode, request).node
        if wait:
            drained = wait_drained(connection, drained, timeout)
    done = "is drained" if wait else "is being drained"
    _print(drained, output, done)


def remove(
    node: NodeArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Also with replicas on it: they are lost at once.")
    ] = False,
    yes: Yes = False,
    request_id: RequestId = "",
) -> None:
    """Remove a node from the fleet for good; its agent is refused from then on.

    One that joined and never connected goes by its id; `fog nodes token list` shows it.
    """
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import node_reference
    from fogbank.v1 import node_service_pb2

    if not yes:
        confirm(f"Remove node {node} for good?")
    with connect() as connection:
        connection.call(
            connection.nodes.RemoveNode,
            node_service_pb2.RemoveNodeRequest(
                request_id=request_id or str(uuid4()),
                node=node_reference(connection, node),
                force=force,
            ),
        )
    print(f"{node} removed")


def _print(node: "nodes_pb2.Node", output: OutputFormat, done: str) -> None:
    from fogbank.cli.views import TABLE_ONLY, node_row

    if output is OutputFormat.NAME:
        print(node.name)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        row = node_row(node)
        print_data({key: row[key] for key in row if key not in TABLE_ONLY}, output)
    else:
        why = f" ({node.reason})" if node.reason else ""
        print(f"{node.name} {done}{why}")
