"""`fog ps` and `fog status`: what there is and how it does."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import UsageFailure
from fogbank.cli.output import (
    AsTable,
    At,
    Column,
    Output,
    OutputFormat,
    console,
    counted,
    fitted,
    print_data,
    print_list,
    print_table,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from fogbank.cli.connection import Connection
    from fogbank.v1.deployment_service_pb2 import ListDeploymentsRequest
    from fogbank.v1.deployments_pb2 import Deployment
    from fogbank.v1.moments_pb2 import Moment

    _Look = Callable[[], list[dict[str, Any]]]

_WATCH_PERIOD_S = 1.0
_NONE_YET = "no deployments; make one with `fog deploy`"
_FOR_PEOPLE = frozenset({OutputFormat.TABLE, OutputFormat.WIDE})

_COLUMNS = (
    Column("NAME", "name"),
    Column("STATUS", "status"),
    Column("REPLICAS", "replicas_text"),
    Column("HEALTH", "health"),
    Column("AGE", "age"),
    Column("ID", "id"),
    Column("TYPE", "type", wide=True),
    Column("IMAGE", "container_image", wide=True),
    Column("REGION", "region", wide=True),
    Column("PRIORITY", "priority", wide=True),
    Column("CLUSTER", "cluster_id", wide=True),
    Column("OWNER", "owner_id", wide=True),
    Column("REASON", "reason"),
)
_TABLE_ONLY = ("replicas_text", "age")

_REPLICA_COLUMNS = (
    Column("SLOT", "slot"),
    Column("STATUS", "status"),
    Column("NODE", "node"),
    Column("RUNTIME", "runtime"),
    Column("RESTARTS", "restarts"),
    Column("STARTED", "started_at"),
    Column("HEALTH", "health"),
    Column("PORTS", "ports"),
    Column("REPLICA ID", "id", wide=True),
    Column("CONTAINER", "container_id", wide=True),
    Column("GPUS", "gpu_devices", wide=True),
    Column("REASON", "reason"),
)
_CHANGE_COLUMNS = (
    Column("WHEN", "changed_at"),
    Column("FROM", "old_status"),
    Column("TO", "new_status"),
    Column("REASON", "reason"),
    Column("SEQUENCE", "sequence", wide=True),
)


def ps(  # noqa: PLR0917  one parameter for each flag
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="Only this status, such as running; may be repeated."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Only names that contain this.")] = "",
    everything: Annotated[bool, typer.Option("--all", "-a", help="Deleted ones too.")] = False,
    all_owners: Annotated[
        bool, typer.Option("--all-owners", "-A", help="Everybody's (administrators only).")
    ] = False,
    node: Annotated[
        str, typer.Option("--node", help="Only with replicas on this node: its name or id.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    at: At = "",
    output: Output = AsTable,
) -> None:
    """List deployments, newest first."""
    from fogbank.cli.connection import connect

    request = _request(status or [], name, everything=everything, all_owners=all_owners)
    if at:
        from fogbank.cli.moments import moment

        if watch:
            raise UsageFailure("--at and --watch: what was doesn't change; leave one out")
        if node:
            raise UsageFailure("--at and --node: what is on a node is known of now only")
        request.as_of.CopyFrom(moment(at))
    with connect() as connection:
        if watch:
            _watch(lambda: _rows(connection, request, output, node), output)
            return
        rows = _rows(connection, request, output, node)
    empty = "no deployments at that time" if at else _NONE_YET
    print_deployments(rows, output, f"no deployments on {node}" if node else empty)


def print_deployments(
    rows: list[dict[str, Any]],
    output: OutputFormat,
    empty: str,
) -> None:
    """Print a list of deployments, made of what `list_row` returns."""
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        rows = [
            {key: value for key, value in row.items() if key not in _TABLE_ONLY} for row in rows
        ]
    print_list(
        rows,
        _COLUMNS,
        output,
        name_key="id",
        empty=empty,
    )


def _request(
    statuses: list[str], name: str, *, everything: bool, all_owners: bool
) -> "ListDeploymentsRequest":
    from fogbank.v1 import deployment_service_pb2, deployments_pb2

    known = {
        word.removeprefix("DEPLOYMENT_STATUS_").lower(): number
        for word, number in deployments_pb2.DeploymentStatus.items()
        if number
    }
    for status in statuses:
        if status.lower() not in known:
            raise UsageFailure(f"--status {status}: must be one of {', '.join(known)}")
    wanted = [known[status.lower()] for status in statuses]
    if everything and not wanted:
        wanted = list(known.values())
    return deployment_service_pb2.ListDeploymentsRequest(
        statuses=wanted, name_contains=name, all_owners=all_owners
    )


def _rows(
    connection: "Connection", request: "ListDeploymentsRequest", output: OutputFormat, node: str
) -> list[dict[str, Any]]:
    from fogbank.cli.lookups import all_deployments, name_reasons, node_reference
    from fogbank.cli.node_replicas import replicas_on

    as_of = request.as_of if request.HasField("as_of") else None
    rows = [list_row(deployment, as_of) for deployment in all_deployments(connection, request)]
    if node:
        there = replicas_on(connection, node_reference(connection, node)).replicas
        on_node = {each.deployment_id for each in there}
        rows = [row for row in rows if row["id"] in on_node]
    if output in _FOR_PEOPLE:
        name_reasons(connection, rows)
    return rows


def list_row(deployment: "Deployment", as_of: "Moment | None" = None) -> dict[str, Any]:
    """Return a deployment as lists show it; its age is that at the moment of the list."""
    from fogbank.cli.views import age_at, deployment_row

    row = deployment_row(deployment)
    row["replicas_text"] = f"{row['running_replicas']}/{row['target_replicas']}"
    row["age"] = age_at(row["created_at"], as_of)
    return row


def _watch(look: "_Look", output: OutputFormat) -> None:
    """Show the list anew each second until Ctrl-C; the server may be away in between."""
    if output not in _FOR_PEOPLE or not console().is_terminal:
        _print_changes(look, output)
        return
    from rich.live import Live

    def drawn(rows: list[dict[str, Any]]) -> "RenderableType":
        wide = output is OutputFormat.WIDE
        return fitted(table(rows, _COLUMNS, wide=wide)) if rows else "no deployments"

    looks = _looks(look)
    with Live(drawn(next(looks)), console=console(), auto_refresh=False) as live:
        for rows in looks:
            live.update(drawn(rows), refresh=True)


def _print_changes(look: "_Look", output: OutputFormat) -> None:
    """Print the list whenever something but an age has changed: for files, pipes and programs."""
    last: list[dict[str, Any]] | None = None
    for rows in _looks(look):
        what = [{key: value for key, value in row.items() if key != "age"} for row in rows]
        if what != last:
            print_deployments(rows, output, _NONE_YET)
            sys.stdout.flush()
            last = what


def _looks(look: "_Look") -> "Iterator[list[dict[str, Any]]]":
    """Yield the list at once and each second; a second is skipped while the server is away."""
    import grpc

    yield look()
    while True:
        time.sleep(_WATCH_PERIOD_S)
        try:
            rows = look()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            continue
        yield rows


def status(
    deployment: Annotated[str, typer.Argument(help="Its id, or its name if no other has it.")],
    output: Output = AsTable,
) -> None:
    """Show one deployment: its replicas and what happened to it."""
    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import all_nodes, deployment_id, name_reasons
    from fogbank.cli.views import deployment_detail, rollout_summary, runtime_word
    from fogbank.v1 import deployment_service_pb2

    with connect() as connection:
        wanted = deployment_service_pb2.GetDeploymentRequest(
            deployment_id=deployment_id(connection, deployment), with_owner_name=True
        )
        answer = connection.call(connection.deployments.GetDeployment, wanted)
        found = answer.deployment
        runtimes = (
            {node.id: runtime_word(node) for node in all_nodes(connection)}
            if any(replica.node_id for replica in found.replicas)
            else {}
        )
        detail = deployment_detail(found, runtimes) | {"owner": answer.owner_name or None}
        asked = deployment_service_pb2.GetRolloutRequest(
            deployment_id=found.id, with_env_names=True
        )
        rollout = connection.call(connection.deployments.GetRollout, asked)
        detail["rollout"] = rollout_summary(rollout)
        if output in _FOR_PEOPLE:
            name_reasons(
                connection, [detail, *detail["replicas"], *detail["recent_status_changes"]]
            )
    print_detail(detail, output)


def print_detail(detail: dict[str, Any], output: OutputFormat) -> None:
    """Print all about one deployment, in the form asked for."""
    if output is OutputFormat.NAME:
        print(detail["id"])
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(detail, output)
    else:
        _print_detail(detail, wide=output is OutputFormat.WIDE)


def _environment(rollout: dict[str, Any]) -> str:
    """Return what to say of an environment: names, where the server has them, and never values."""
    if not rollout.get("has_env"):
        return ""
    hidden = "values are shown to nobody"
    names = ", ".join(rollout.get("env_names", ()))
    return f"{names} ({hidden})" if names else f"given; its {hidden}"


def _owner(detail: dict[str, Any]) -> str:
    """Return whose it is: by name, where the server told that."""
    name, known_id = detail.get("owner"), str(detail["owner_id"])
    return f"{name} ({known_id})" if name else known_id


def _print_detail(detail: dict[str, Any], *, wide: bool) -> None:
    from fogbank.cli.spec_content import spec_lines
    from fogbank.cli.views import update_text

    screen = console()
    ask = detail["resources"]
    rollout = detail.get("rollout", {})
    facts = [
        ("Name", detail["name"]),
        ("Id", detail["id"]),
        ("Status", detail["status"]),
        ("Health", detail["health"]),
        ("Reason", detail["reason"]),
        ("Nodes with room", detail.get("available_nodes")),
        ("Replicas", f"{detail['running_replicas']} of {detail['target_replicas']} running"),
        ("Image", rollout.get("wanted_image") or detail["container_image"]),
        ("Update", update_text(rollout) if rollout else None),
        ("Type", detail["type"]),
        ("Region", detail["region"]),
        ("Cluster", detail["cluster_id"] or None),
        ("Owner", _owner(detail)),
        ("Priority", detail["priority"]),
        (
            "Each needs",
            f"{counted(ask['cpu_cores'], 'core')}, {ask['memory_mb']} MiB, {ask['storage_gb']} GiB"
            + (f", {ask['gpu_units']:g} GPU" if ask["gpu_units"] else ""),
        ),
        *spec_lines(detail["spec"]),
        ("Environment", _environment(rollout)),
        ("Created", detail["created_at"]),
    ]
    for label, value in facts:
        if value not in {None, ""}:
            screen.print(f"{label + ':':<17}{value}", markup=False)
    if detail["replicas"]:
        screen.print()
        print_table(table(detail["replicas"], _REPLICA_COLUMNS, wide=wide))
    if detail["recent_status_changes"]:
        screen.print()
        print_table(table(detail["recent_status_changes"], _CHANGE_COLUMNS, wide=wide))
