"""`fog rollout`: following how replicas are replaced, and going back."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import CommandError, warn
from fogbank.cli.output import (
    AsTable,
    Column,
    Output,
    OutputFormat,
    print_data,
    print_list,
)
from fogbank.cli.update_flags import Etag, Repeat, Timeout, Wait, Which

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fogbank.cli.connection import Connection
    from fogbank.v1.deployment_service_pb2 import GetRolloutResponse
    from fogbank.v1.deployments_pb2 import Deployment

app = typer.Typer(no_args_is_help=True, help="Follow updates, and take them back.")

_POLL_S = 0.5

_COLUMNS = (
    Column("REVISION", "revision"),
    Column("STATE", "state"),
    Column("IMAGE", "container_image"),
    Column("CPU", "cpu_cores"),
    Column("MEMORY MiB", "memory_mb"),
    Column("ENV", "has_env"),
    Column("CREATED", "created_at"),
)


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
        hints = _would_unblock(connection, answer)
    if output is OutputFormat.NAME:
        print(known)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(_content(answer) | {"would_unblock": hints}, output)
    else:
        _print_status(answer, hints)


def _print_status(answer: "GetRolloutResponse", hints: list[str]) -> None:
    print(f"{_phase(answer)}: {answer.message}")
    print(
        f"revision {answer.revision} asked for, {answer.available} of {answer.replicas} "
        f"replicas well, {answer.leaving} leaving"
    )
    if not answer.waits_for:
        return
    print(f"it waits for {answer.waits_for}")
    if hints:
        print("what would unblock it:")
        for hint in hints:
            print(f"  - {hint}")
    print(_end(answer))


def _end(answer: "GetRolloutResponse") -> str:
    """Return how long an update waits, and what happens then."""
    from fogbank.cli.views import instant

    if answer.goes_back_to:
        return (
            f"if it isn't well by {instant(answer.gives_up_at)}, "
            f"it goes back to revision {answer.goes_back_to}"
        )
    # What is well for a moment may break yet, and is given up then.
    as_it_is = "as things stand it is not given up"
    if len(answer.revisions) > 1 and _phase(answer) == "progressing":
        return f"{as_it_is}; take it back with `fog rollout undo {answer.deployment_id}`"
    return as_it_is


def _would_unblock(connection: "Connection", answer: "GetRolloutResponse") -> list[str]:
    """Return what would let an update go on that waits for room, as far as the scheduler tells."""
    import grpc

    from fogbank.v1 import deployment_service_pb2

    if not answer.waits_for:
        return []
    request = deployment_service_pb2.ExplainDeploymentRequest(deployment_id=answer.deployment_id)
    try:
        told = connection.call(connection.deployments.ExplainDeployment, request, patience_s=0)
    except grpc.RpcError:
        return []  # hints are not worth an error
    return list(told.now.would_unblock)


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
        finish(connection, [answer.deployment], output, timeout if wait else None, "goes back")


def finish(
    connection: "Connection",
    changed: "Sequence[Deployment]",
    output: OutputFormat,
    timeout_s: float | None,
    done: str,
) -> None:
    """Wait until all replicas are replaced, unless there is no time for it, and tell of it.

    Raises:
        CommandError: one went back, or isn't done in time.
    """
    from fogbank.cli.views import deployment_row

    for deployment in changed if timeout_s is not None else ():
        answer = _wait(connection, deployment.id, timeout_s or 0)
        if _phase(answer) == "rolled_back":
            raise _went_back(deployment, answer)
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        rows = [deployment_row(deployment) for deployment in changed]
        print_data(rows if len(rows) > 1 else rows[0], output)
        return
    for deployment in changed:
        if output is OutputFormat.NAME:
            print(deployment.id)
            continue
        print(f"{deployment.spec.name} ({deployment.id}) {done}")
        if timeout_s is None:
            print(f"follow it: fog rollout status {deployment.id}")


def warn_of_going_back(connection: "Connection", asked: "Sequence[Deployment]") -> None:
    """Say which deployments are asked for what went back before: that is not tried again."""
    import grpc

    for deployment in asked:
        try:
            answer = _rollout(connection, deployment.id)
        except grpc.RpcError:
            return  # a warning is not worth an error
        if _phase(answer) == "rolled_back":
            warn(_went_back(deployment, answer))


def _went_back(deployment: "Deployment", answer: "GetRolloutResponse") -> CommandError:
    return CommandError(
        f"{deployment.spec.name} went back: {answer.message}",
        hint=f"asking for revision {answer.revision} again changes nothing; to try it again, "
        f"first `fog rollout undo {deployment.id}`, then update as before",
    )


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
                f"not done after {timeout_s:g} s: {_told(answer)}",
                hint="`fog rollout status` shows how it goes on, `fog explain` what it waits for",
            )
        time.sleep(_POLL_S)


def _told(answer: "GetRolloutResponse") -> str:
    waits = f"; it waits for {answer.waits_for}" if answer.waits_for else ""
    return f"{answer.message}{waits}"


def _rollout(connection: "Connection", known: str) -> "GetRolloutResponse":
    from fogbank.v1 import deployment_service_pb2

    request = deployment_service_pb2.GetRolloutRequest(deployment_id=known)
    answer: GetRolloutResponse = connection.call(connection.deployments.GetRollout, request)
    return answer


def _phase(answer: "GetRolloutResponse") -> str:
    from fogbank.cli.enum_words import enum_word
    from fogbank.v1 import deployment_service_pb2

    return enum_word(deployment_service_pb2.RolloutPhase, answer.phase, "ROLLOUT_PHASE_")


def _content(answer: "GetRolloutResponse") -> dict[str, Any]:
    from fogbank.cli.views import amounts, instant

    return {
        "deployment_id": answer.deployment_id,
        "phase": _phase(answer),
        "message": answer.message,
        "waits_for": answer.waits_for or None,
        "gives_up_at": instant(answer.gives_up_at),
        "goes_back_to": answer.goes_back_to or None,
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
