"""What is on a node: its replicas with the deployments that they are of."""

from typing import TYPE_CHECKING, Any

from fogbank.cli.enum_words import enum_word
from fogbank.cli.output import Column, counted, print_table, table
from fogbank.cli.views import amounts, replica_status
from fogbank.v1 import deployments_pb2, moments_pb2, node_service_pb2

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection

_COLUMNS = (
    Column("DEPLOYMENT", "deployment"),
    Column("SLOT", "slot"),
    Column("STATUS", "status"),
    Column("CPU", "cpu_cores"),
    Column("MEMORY MiB", "memory_mb"),
    Column("RESTARTS", "restarts"),
    Column("REASON", "reason"),
    Column("GPU", "gpu_units", wide=True),
    Column("STORAGE GiB", "storage_gb", wide=True),
    Column("HEALTH", "health", wide=True),
    Column("DEPLOYMENT ID", "deployment_id", wide=True),
    Column("REPLICA ID", "id", wide=True),
)


def replicas_on(
    connection: "Connection", node: str, as_of: moments_pb2.Moment | None = None
) -> node_service_pb2.ListNodeReplicasResponse:
    """Return what is or was on a node (its name or whole id), as far as the caller may see it."""
    from fogbank.cli.connection import PAST_TIMEOUT_S

    request = node_service_pb2.ListNodeReplicasRequest(node=node, as_of=as_of)
    if as_of is None:
        return connection.call(connection.nodes.ListNodeReplicas, request)
    return connection.call(connection.nodes.ListNodeReplicas, request, PAST_TIMEOUT_S)


def replica_rows(answer: node_service_pb2.ListNodeReplicasResponse) -> list[dict[str, Any]]:
    """Return the replicas on a node as lists show them."""
    return [
        {
            "deployment": each.deployment_name,
            "deployment_id": each.deployment_id,
            "slot": each.replica.slot,
            "id": each.replica.id,
            "status": "unknown" if each.replica.unknown else replica_status(each.replica.state),
            "health": enum_word(deployments_pb2.Health, each.replica.health, "HEALTH_"),
            "restarts": each.replica.restart_count,
            "reason": each.replica.reason,
            **amounts(each.resources),
        }
        for each in answer.replicas
    ]


def print_replicas(rows: list[dict[str, Any]], total: int, *, wide: bool) -> None:
    """Print what is on a node, and how much of it is not the caller's to see."""
    if rows:
        print_table(table(rows, _COLUMNS, wide=wide))
    if total > len(rows):
        print(f"{counted(total - len(rows))} of others' deployments")


def named(answer: node_service_pb2.ListNodeReplicasResponse) -> str:
    """Return the replicas on a node in a line: each by its deployment and slot."""
    known = [f"{each.deployment_name}/{each.replica.slot}" for each in answer.replicas]
    others = answer.total_size - len(known)
    return ", ".join([*known, *([f"{counted(others)} of others"] if others else [])])
