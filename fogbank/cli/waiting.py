"""Waits until a deployment runs, with a progress display on a terminal."""

import sys
import time
from collections.abc import Callable

import grpc

from fogbank.cli.connection import Connection
from fogbank.cli.failures import CommandError, PlacementFailedError
from fogbank.cli.lookups import get_deployment
from fogbank.cli.node_replicas import named, replicas_on
from fogbank.cli.output import console, counted
from fogbank.cli.views import status_word
from fogbank.v1 import deployments_pb2, node_service_pb2, nodes_pb2

_POLL_S = 0.2
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

Deployment = deployments_pb2.Deployment


def wait_running(
    connection: Connection, deployment_id: str, timeout_s: float, min_sequence: int = 0
) -> Deployment:
    """Wait until every replica runs and its probe passed, and return the deployment.

    The server may be away in the meantime.

    Raises:
        PlacementFailedError: it failed; the message is the reason.
        CommandError: it doesn't run within `timeout_s` seconds, or was deleted.
    """

    def done(deployment: Deployment) -> bool:
        word = status_word(deployment.status)
        if word == "failed":
            raise PlacementFailedError(
                f"{deployment.spec.name}: {deployment.reason or 'failed'}",
                hint=_advice(deployment),
            )
        if word == "deleted":
            raise CommandError(f"{deployment.spec.name} was deleted")
        runs = word == "running" and deployment.running_replicas >= deployment.spec.replicas
        return word == "completed" or (runs and deployment.health == deployments_pb2.HEALTH_HEALTHY)

    return _wait(connection, deployment_id, timeout_s, min_sequence, done)


def wait_gone(
    connection: Connection, deployment_id: str, timeout_s: float, min_sequence: int = 0
) -> Deployment:
    """Wait until a deleted deployment's replicas have stopped.

    Raises:
        CommandError: some run on after `timeout_s` seconds.
    """
    return _wait(
        connection,
        deployment_id,
        timeout_s,
        min_sequence,
        lambda deployment: deployment.running_replicas == 0,
    )


def wait_drained(connection: Connection, node: nodes_pb2.Node, timeout_s: float) -> nodes_pb2.Node:
    """Wait until a draining node has no replicas and return the node; tell what is left meanwhile.

    The server may be away in the meantime.

    Raises:
        CommandError: some are left after `timeout_s` seconds, or it is drained no more.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    deadline = time.monotonic() + timeout_s
    begun_with = max(1, node.replicas)
    with Progress(
        TextColumn("{task.fields[name]}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:g}/{task.total:g} gone, left: {task.fields[left]}"),
        TimeElapsedColumn(),
        console=console(errors=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("", total=begun_with, name=node.name, left="")
        left = ""
        # Before it is visible as draining it looks as it did before the command.
        visible = False
        while True:
            seen = _look_at_node(connection, node.id)
            visible = visible or (seen is not None and seen.draining)
            if seen is not None and visible:
                if not seen.draining:
                    raise CommandError(f"{node.name} is drained no more: it was uncordoned")
                if not seen.replicas:
                    return seen
                if (there := _left_on(connection, seen)) not in {"", left}:
                    left = there
                    if progress.disable:  # nobody sees it move
                        print(f"left on {seen.name}: {left}", file=sys.stderr, flush=True)
                progress.update(task, completed=max(0, begun_with - seen.replicas), left=left)
                node = seen
            if time.monotonic() > deadline:
                raise CommandError(
                    f"{counted(node.replicas)} still on {node.name} after {timeout_s:g} s"
                    + (f": {left}" if left else ""),
                    hint="the drain goes on; `fog explain DEPLOYMENT` says what keeps one, and a "
                    "--deadline stops what finds no room elsewhere",
                )
            time.sleep(_POLL_S)


def _left_on(connection: Connection, node: nodes_pb2.Node) -> str:
    """Return what is on a node in a line; nothing while the server is away."""
    try:
        return named(replicas_on(connection, node.id))
    except grpc.RpcError as error:
        if error.code() in _AWAY:
            return ""
        raise


def _look_at_node(connection: Connection, node_id: str) -> nodes_pb2.Node | None:
    """Return the node, or None while the server is away."""
    try:
        answer = connection.call(
            connection.nodes.GetNode, node_service_pb2.GetNodeRequest(node=node_id)
        )
    except grpc.RpcError as error:
        if error.code() in _AWAY:
            return None
        raise
    return answer.node


def _advice(deployment: Deployment) -> str:
    can = "an owner of its organization or an administrator can"
    if "quota of cluster " not in deployment.reason.lower():
        can = "an administrator can"  # an organization's own limit
    if deployment.reason.startswith("Impossible: above the quota"):
        helps = f"ask for less, or have the quota raised ({can})"
    elif deployment.reason.startswith("Quota of"):
        helps = (
            "ask for less, free some of the quota by ending replicas that take of it, have it "
            f"raised ({can}), or wait with --wait-for-capacity"
        )
    else:
        helps = (
            "ask for less, add nodes, or wait for room with --wait-for-capacity; `fog scale "
            f"{deployment.id} {deployment.spec.replicas}` tries again, as after nodes were busy"
        )
    return f"{helps}; what keeps each node: fog explain {deployment.id}"


def _wait(
    connection: Connection,
    deployment_id: str,
    timeout_s: float,
    min_sequence: int,
    done: Callable[[Deployment], bool],
) -> Deployment:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    deadline = time.monotonic() + timeout_s
    last = ""
    with Progress(
        TextColumn("{task.fields[name]}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:g}/{task.total:g} running, {task.fields[status]}"),
        TimeElapsedColumn(),
        console=console(errors=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("", total=1, name="", status="")
        while True:
            deployment = _look(connection, deployment_id, min_sequence)
            if deployment is not None:
                if done(deployment):
                    return deployment
                last = status_word(deployment.status)
                if deployment.reason:
                    last = f"{last} ({deployment.reason})"
                progress.update(
                    task,
                    total=max(1, deployment.spec.replicas),
                    completed=deployment.running_replicas,
                    name=deployment.spec.name,
                    status=last,
                )
            if time.monotonic() > deadline:
                raise CommandError(
                    f"still {last or 'not visible'} after {timeout_s:g} s",
                    hint=f"it goes on without this command; look with `fog status {deployment_id}`",
                )
            time.sleep(_POLL_S)


def _look(connection: Connection, deployment_id: str, min_sequence: int) -> Deployment | None:
    """Return the deployment, or None while the server is away."""
    try:
        return get_deployment(connection, deployment_id, min_sequence)
    except grpc.RpcError as error:
        if error.code() in _AWAY:
            return None
        raise
