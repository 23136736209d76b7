"""`fog logs` and `fog exec`: what containers wrote, and commands within them."""

import sys
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from fogbank.cli.failures import CommandError

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection

Which = Annotated[str, typer.Argument(help="A deployment's name or id.")]
Slot = Annotated[
    int | None,
    typer.Option("--slot", min=0, help="Which replica; the first that has a node if not said."),
]
Command = Annotated[list[str], typer.Argument(help="Program and arguments, after --.")]


def print_logs(
    deployment: str,
    tail: int,
    *,
    slot: int | None = None,
    replica_id: str = "",
    previous: bool = False,
    follow: bool = False,
) -> None:
    """Print what a replica's container wrote; it comes from its node, nothing is kept elsewhere."""
    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import deployment_id
    from fogbank.v1 import replica_service_pb2 as pb

    with connect() as connection:
        request = pb.ReadLogsRequest(
            deployment_id=deployment_id(connection, deployment),
            replica_id=replica_id,
            slot=slot,
            previous=previous,
            tail=tail,
            follow=follow,
        )
        pieces = connection.while_signed_in(
            lambda: connection.replicas.ReadLogs(request, metadata=connection.metadata)
        )
        for piece in pieces:
            # Should the token end: what is printed is not asked for again.
            request.tail = 0
            _write(sys.stdout, piece.data)


def execute(deployment: Which, command: Command, slot: Slot = None) -> int:
    """Run a command in a replica's container; exits as it does."""
    from fogbank.cli.connection import connect
    from fogbank.v1 import replica_service_pb2 as pb

    with connect() as connection:
        deployment_id, replica_id = _replica(connection, deployment, slot)
        request = pb.ExecRequest(
            deployment_id=deployment_id, replica_id=replica_id, command=command
        )
        _tell_of_pretence(connection, deployment_id, replica_id)
        # It ends with the token, so let that have all of its time before it.
        connection.renewed()
        for piece in connection.replicas.Exec(request, metadata=connection.metadata):
            match piece.WhichOneof("message"):
                case "output":
                    _write(sys.stdout, piece.output)
                case "error_output":
                    _write(sys.stderr, piece.error_output)
                case "exit_code":
                    return int(piece.exit_code)
    raise CommandError("the node did not say how the command ended")


def _replica(connection: "Connection", deployment: str, slot: int | None) -> tuple[str, str]:
    """Return the ids of a deployment and of its replica in a slot; empty for any."""
    from fogbank.cli.lookups import deployment_id, get_deployment

    found = deployment_id(connection, deployment)
    if slot is None:
        return found, ""
    for replica in get_deployment(connection, found).replicas:
        if replica.slot == slot:
            return found, replica.id
    raise CommandError(
        f"{deployment} has no replica in slot {slot}", hint=f"`fog status {deployment}` lists them"
    )


def _tell_of_pretence(connection: "Connection", deployment_id: str, replica_id: str) -> None:
    """Say on standard error that the replica's node runs nothing, if that is so."""
    import grpc

    from fogbank.cli.lookups import get_deployment
    from fogbank.cli.views import runtime_word
    from fogbank.v1 import node_service_pb2

    try:
        for replica in get_deployment(connection, deployment_id).replicas:
            if replica.node_id and replica_id in {"", replica.id}:
                request = node_service_pb2.GetNodeRequest(node=replica.node_id)
                node = connection.call(connection.nodes.GetNode, request).node
                if runtime_word(node) == "simulated":
                    print(
                        f"fog: {node.name} only simulates containers: nothing runs in it, "
                        "and no command but echo answers",
                        file=sys.stderr,
                        flush=True,
                    )
                return
    except grpc.RpcError:
        return  # what the command itself meets is told


def _write(stream: TextIO, data: bytes) -> None:
    """Write bytes as they came."""
    binary = getattr(stream, "buffer", None)
    if binary is None:
        print(data.decode(errors="replace"), end="", file=stream, flush=True)
    else:
        binary.write(data)
        binary.flush()
