"""`fog cluster`: an organization's shares of the fleet, and how much of them is used."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    print_table,
    table,
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
    quota_of,
    wanted_quota,
)

if TYPE_CHECKING:
    from fogbank.v1 import identity_service_pb2

app = typer.Typer(help="List, make and show clusters, or set the quota of one.")

ClusterArgument = Annotated[str, typer.Argument(help="Its number or name.")]

_COLUMNS = (
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("ORGANIZATION", "organization_id"),
    *QUOTA_COLUMNS,
)
_USE_COLUMNS = (
    Column("", "what"),
    Column("USED", "used"),
    Column("TOTAL", "total"),
    Column("AVAILABLE", "available"),
    Column("", "share"),
)


@lists(app)
def list_clusters(output: Output = AsTable) -> None:
    """List the clusters of your organizations with their quotas; a dash is unlimited."""
    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import all_clusters
    from fogbank.cli.tenancy_views import cluster_row

    with connect() as connection:
        rows = [cluster_row(cluster) for cluster in all_clusters(connection)]
    _print_rows(rows, output)


@app.command("create")
def create(  # noqa: PLR0917  one parameter for each flag
    name: Annotated[str, typer.Argument(help="Name.")],
    organization: Annotated[
        str, typer.Option("--org", help="Its organization's number or name.")
    ] = "1",
    cpu: Cpu = None,
    memory: Memory = None,
    storage: Storage = None,
    gpu: Gpu = None,
    replicas: Replicas = None,
    request_id: RequestId = "",
    output: Output = AsTable,
) -> None:
    """Make a cluster with the quota given; owners and operators of the organization only."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import organization_number
    from fogbank.v1 import identity_service_pb2

    with connect() as connection:
        request = identity_service_pb2.CreateClusterRequest(
            request_id=request_id or str(uuid4()),
            name=name,
            organization_id=organization_number(connection, organization),
            total=quota_of(cpu, memory, storage, gpu, replicas),
        )
        answer = connection.call(connection.identity.CreateCluster, request)
    _print(answer.cluster, output, f"made; deploy into it with --cluster {answer.cluster.id}")


@app.command("quota")
def quota(  # noqa: PLR0917  one parameter for each flag
    cluster: ClusterArgument,
    cpu: Cpu = None,
    memory: Memory = None,
    storage: Storage = None,
    gpu: Gpu = None,
    replicas: Replicas = None,
    unlimited: Unlimited = False,
    request_id: RequestId = "",
    output: Output = AsTable,
) -> None:
    """Show a cluster's quota, or replace all of it, owners only; what runs is not stopped."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.tenancy_lookups import cluster_number
    from fogbank.cli.tenancy_views import cluster_row
    from fogbank.v1 import identity_service_pb2

    total = wanted_quota(cpu, memory, storage, gpu, replicas, unlimited=unlimited)
    with connect() as connection:
        number = cluster_number(connection, cluster)
        if total is None:
            asked = identity_service_pb2.GetClusterStatusRequest(cluster_id=number)
            shown = connection.call(connection.identity.GetClusterStatus, asked)
            _print_rows([cluster_row(shown.cluster)], output)
            return
        request = identity_service_pb2.SetClusterQuotaRequest(
            request_id=request_id or str(uuid4()), cluster_id=number, total=total
        )
        answer = connection.call(connection.identity.SetClusterQuota, request)
    _print(answer.cluster, output, "has another quota")


def _print_rows(rows: list[dict[str, Any]], output: OutputFormat) -> None:
    if output in {OutputFormat.TABLE, OutputFormat.WIDE}:
        rows = [{**row, **row["total"]} for row in rows]
    print_list(rows, _COLUMNS, output, name_key="id", empty="no clusters")


@app.command("status")
def status(cluster: ClusterArgument, at: At = "", output: Output = AsTable) -> None:
    """Show how much of a cluster is used, and how its deployments do."""
    from fogbank.cli.connection import CALL_TIMEOUT_S, PAST_TIMEOUT_S, connect
    from fogbank.cli.moments import moment
    from fogbank.cli.tenancy_lookups import cluster_number
    from fogbank.cli.tenancy_views import cluster_status_row
    from fogbank.v1 import identity_service_pb2

    as_of = moment(at) if at else None
    with connect() as connection:
        request = identity_service_pb2.GetClusterStatusRequest(
            cluster_id=cluster_number(connection, cluster), as_of=as_of
        )
        timeout_s = PAST_TIMEOUT_S if at else CALL_TIMEOUT_S
        answer = connection.call(connection.identity.GetClusterStatus, request, timeout_s)
    row = cluster_status_row(answer)
    if output is OutputFormat.NAME:
        print(row["id"])
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(row, output)
    else:
        if at:
            console().print(f"as of log sequence {answer.as_of_sequence}", style="dim")
        _print_status(row)


def _print_status(row: dict[str, Any]) -> None:
    from fogbank.cli.tenancy_views import use_rows

    screen = console()
    counts = ", ".join(f"{count} {word}" for word, count in row["deployments"].items())
    screen.print(
        f"{row['name']}: cluster {row['id']} of organization {row['organization_id']}",
        markup=False,
    )
    screen.print(f"Deployments: {counts or 'none'}", markup=False)
    screen.print()
    print_table(table(use_rows(row), _USE_COLUMNS))


def _print(cluster: "identity_service_pb2.Cluster", output: OutputFormat, done: str) -> None:
    from fogbank.cli.tenancy_views import cluster_row

    if output is OutputFormat.NAME:
        print(cluster.id)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(cluster_row(cluster), output)
    else:
        print(f"cluster {cluster.id} ({cluster.name}) {done}")
