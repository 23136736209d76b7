"""`fog update` and `fog rollout`: changing what runs, and following how replicas are replaced."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.deploy_flags import Label, LostAfter, StopOnClientAfter
from fogbank.cli.failures import CommandError, UsageFailure
from fogbank.cli.output import (
    AsTable,
    Column,
    Output,
    OutputFormat,
    print_data,
    print_list,
)

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection
    from fogbank.v1.deployment_service_pb2 import GetRolloutResponse
    from fogbank.v1.deployments_pb2 import Deployment

app = typer.Typer(no_args_is_help=True, help="Follow updates, and take them back.")

_THOUSANDTHS = 1000
_POLL_S = 0.5

Which = Annotated[str, typer.Argument(help="Its id, or its name if no other has it.")]
Etag = Annotated[str, typer.Option("--etag", help="Only if it is still at this etag.")]
Repeat = Annotated[str, typer.Option("--request-id", help="Makes a repeat of this command safe.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until all replicas are replaced.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait.")]
MaxSurge = Annotated[
    int | None, typer.Option("--max-surge", help="So many replicas more at a time.")
]
MaxUnavailable = Annotated[
    int | None, typer.Option("--max-unavailable", help="So many fewer that are well.")
]
MinHealthy = Annotated[
    str, typer.Option("--min-healthy", help="A new one runs so long before an old one goes: 10s.")
]
ProgressDeadline = Annotated[
    str, typer.Option("--progress-deadline", help="New ones not well by then have failed: 10m.")
]
AutoRollback = Annotated[
    bool | None,
    typer.Option("--auto-rollback/--no-auto-rollback", help="Go back when new ones fail."),
]

_COLUMNS = (
    Column("REVISION", "revision"),
    Column("STATE", "state"),
    Column("IMAGE", "container_image"),
    Column("CPU", "cpu_cores"),
    Column("MEMORY", "memory_mb"),
    Column("ENV", "has_env"),
    Column("CREATED", "created_at"),
)


def update(  # noqa: PLR0917  one parameter for each flag
    deployment: Which,
    image: Annotated[str | None, typer.Option("--image", help="Container image.")] = None,
    cpu: Annotated[float | None, typer.Option("--cpu", help="Cores for each replica.")] = None,
    memory: Annotated[int | None, typer.Option("--memory", help="MB for each replica.")] = None,
    storage: Annotated[int | None, typer.Option("--storage", help="GB for each replica.")] = None,
    gpu: Annotated[float | None, typer.Option("--gpu", help="GPUs for each replica.")] = None,
    region: Annotated[str | None, typer.Option("--region", help="Where it should be near.")] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", help="0 to 100, or low, medium, high.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Number or name of the cluster to move it to.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", help="KEY=VALUE; repeatable; all together are the new ones."),
    ] = None,
    label: Label = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option("--constraint", help="As of deploy; all together are the new ones."),
    ] = None,
    max_surge: MaxSurge = None,
    max_unavailable: MaxUnavailable = None,
    min_healthy: MinHealthy = "",
    progress_deadline: ProgressDeadline = "",
    auto_rollback: AutoRollback = None,
    lost_after: LostAfter = "",
    replace: Annotated[
        bool | None, typer.Option("--replace/--no-replace", help="As of deploy.")
    ] = None,
    stop_on_client_after: StopOnClientAfter = "",
    etag: Etag = "",
    request_id: Repeat = "",
    wait: Wait = False,
    timeout: Timeout = 600,
    output: Output = AsTable,
) -> None:
    """Change a deployment; its replicas are replaced step by step where that takes new ones."""
    flags = dict(locals())
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import deployment_id
    from fogbank.cli.tenancy_lookups import flagged_cluster
    from fogbank.v1 import deployment_service_pb2

    if cluster is not None:
        flags["cluster"] = flagged_cluster(cluster)
    request = deployment_service_pb2.UpdateDeploymentRequest(
        request_id=request_id or str(uuid4()), etag=etag
    )
    _fill(request, flags)
    if not request.update_mask.paths:
        raise UsageFailure("say what to change", hint="such as --image nginx:1.27; see --help")
    with connect() as connection:
        request.deployment_id = deployment_id(connection, deployment)
        answer = connection.call(connection.deployments.UpdateDeployment, request)
        _end(connection, answer.deployment, output, timeout if wait else None, "updated")


def _fill(request: Any, flags: dict[str, Any]) -> None:
    """Put what was given into a request, and its fields into the mask."""
    from fogbank.cli import deployment_files as files
    from fogbank.cli.deployment_requests import constraint_message

    spec, mask = request.spec, request.update_mask.paths
    amounts = {
        "cpu": ("resources.cpu_millicores", _THOUSANDTHS),
        "memory": ("resources.memory_mib", 1),
        "storage": ("resources.storage_gib", 1),
        "gpu": ("resources.gpu_thousandths", _THOUSANDTHS),
    }
    for flag, (path, scale) in amounts.items():
        if flags[flag] is not None:
            setattr(spec.resources, path.partition(".")[2], round(flags[flag] * scale))
            mask.append(path)
    for flag, name in (
        ("image", "container_image"),
        ("region", "region"),
        ("cluster", "cluster_id"),
    ):
        if flags[flag] is not None:
            setattr(spec, name, flags[flag])
            mask.append(name)
    if flags["priority"] is not None:
        spec.priority = files.parse_priority(flags["priority"], "--priority")
        mask.append("priority")
    _fill_rollout(spec.rollout, mask, flags)
    _fill_disconnect(spec.disconnect, mask, flags)
    for flag, target in (("env", request.env), ("label", spec.labels)):
        if flags[flag]:
            target.update(dict(files.parse_pair(pair, f"--{flag}") for pair in flags[flag]))
            mask.append("env" if flag == "env" else "labels")
    if flags["constraint"]:
        demands = [files.parse_constraint(one, "--constraint") for one in flags["constraint"]]
        spec.constraints.extend(constraint_message(demand) for demand in demands)
        mask.append("constraints")


def _fill_rollout(rules: Any, mask: Any, flags: dict[str, Any]) -> None:
    from fogbank.cli.durations import milliseconds

    for flag in ("max_surge", "max_unavailable", "auto_rollback"):
        if flags[flag] is not None:
            setattr(rules, flag, flags[flag])
            mask.append(f"rollout.{flag}")
    for flag in ("min_healthy", "progress_deadline"):
        if flags[flag]:
            setattr(rules, f"{flag}_ms", milliseconds(flags[flag]))
            mask.append(f"rollout.{flag}_ms")


def _fill_disconnect(rules: Any, mask: Any, flags: dict[str, Any]) -> None:
    from fogbank.cli.durations import milliseconds

    for flag in ("lost_after", "stop_on_client_after"):
        if flags[flag]:
            setattr(rules, f"{flag}_ms", milliseconds(flags[flag]))
            mask.append(f"disconnect.{flag}_ms")
    if flags["replace"] is not None:
        rules.replace = flags["replace"]
        mask.append("disconnect.replace")


@app.command()
def status(
    deployment: Which, wait: Wait = False, timeout: Timeout = 600, output: Output = AsTable
) -> None:
    """Say how far the replacement of replicas is."""
    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import deployment_id

    with connect() as connection:
        known = deployment_id(connection, deployment)
        answer = _wait(connection, known, timeout) if wait else _rollout(connection, known)
    if output is OutputFormat.NAME:
        print(known)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(_content(answer), output)
    else:
        print(f"{_phase(answer)}: {answer.message}")
        print(
            f"revision {answer.revision} asked for, {answer.available} of {answer.replicas} "
            f"replicas well, {answer.leaving} leaving"
        )


@app.command()
def history(deployment: Which, output: Output = AsTable) -> None:
    """List the revisions that are kept, newest first."""
    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import deployment_id

    with connect() as connection:
        answer = _rollout(connection, deployment_id(connection, deployment))
    rows = _content(answer)["revisions"]
    print_list(rows, _COLUMNS, output, name_key="revision", empty="no revisions")


@app.command()
def undo(  # noqa: PLR0917  one parameter for each flag
    deployment: Which,
    to: Annotated[
        int,
        typer.Option("--to", min=0, help="Revision; 0 for the last other one that did not fail."),
    ] = 0,
    etag: Etag = "",
    request_id: Repeat = "",
    wait: Wait = False,
    timeout: Timeout = 600,
    output: Output = AsTable,
) -> None:
    """Make replicas what they were in an earlier revision."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import deployment_id
    from fogbank.v1 import deployment_service_pb2

    with connect() as connection:
        request = deployment_service_pb2.RollbackDeploymentRequest(
            request_id=request_id or str(uuid4()),
            deployment_id=deployment_id(connection, deployment),
            to_revision=to,
            etag=etag,
        )
        answer = connection.call(connection.deployments.RollbackDeployment, request)
        _end(connection, answer.deployment, output, timeout if wait else None, "goes back")


def _end(
    connection: "Connection",
    deployment: "Deployment",
    output: OutputFormat,
    timeout_s: float | None,
    done: str,
) -> None:
    from fogbank.cli.views import deployment_row

    if timeout_s is not None:
        answer = _wait(connection, deployment.id, timeout_s)
        if _phase(answer) == "rolled_back":
            raise CommandError(
                f"{deployment.spec.name} went back: {answer.message}",
                hint="`fog rollout history` shows the revisions",
            )
    if output is OutputFormat.NAME:
        print(deployment.id)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(deployment_row(deployment), output)
    else:
        print(f"{deployment.spec.name} ({deployment.id}) {done}")
        if timeout_s is None:
            print(f"follow it: fog rollout status {deployment.id}")


def _wait(connection: "Connection", known: str, timeout_s: float) -> "GetRolloutResponse":
    """Wait until a rollout is over, or went back and came to rest."""
    import time

    ends_at = time.monotonic() + timeout_s
    while True:
        answer = _rollout(connection, known)
        rests = answer.updated == answer.replicas and not answer.leaving
        if _phase(answer) == "done" or (_phase(answer) == "rolled_back" and rests):
            return answer
        if time.monotonic() > ends_at:
            raise CommandError(
                f"not done after {timeout_s:g} s: {answer.message}",
                hint="`fog rollout status` shows how it goes on, `fog explain` what it waits for",
            )
        time.sleep(_POLL_S)


def _rollout(connection: "Connection", known: str) -> "GetRolloutResponse":
    from fogbank.v1 import deployment_service_pb2

    request = deployment_service_pb2.GetRolloutRequest(deployment_id=known)
    answer: GetRolloutResponse = connection.call(connection.deployments.GetRollout, request)
    return answer


def _phase(answer: "GetRolloutResponse") -> str:
    from fogbank.cli.views import enum_word
    from fogbank.v1 import deployment_service_pb2

    return enum_word(deployment_service_pb2.RolloutPhase, answer.phase, "ROLLOUT_PHASE_")


def _content(answer: "GetRolloutResponse") -> dict[str, Any]:
    from fogbank.cli.views import amounts, instant

    return {
        "deployment_id": answer.deployment_id,
        "phase": _phase(answer),
        "message": answer.message,
        "revision": answer.revision,
        "wanted_revision": answer.wanted_revision,
        "replicas": answer.replicas,
        "updated": answer.updated,
        "available": answer.available,
        "leaving": answer.leaving,
        "revisions": [
            {
                "revision": revision.number,
                "state": "wanted" if revision.wanted else "failed" if revision.failed else None,
                "container_image": revision.spec.container_image,
                **amounts(revision.spec.resources),
                "has_env": revision.has_env,
                "created_at": instant(revision.created_at),
            }
            for revision in answer.revisions
        ],
        "as_of_sequence": answer.as_of_sequence,
    }
