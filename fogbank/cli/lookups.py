"""Finds deployments and nodes on the server."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc

from fogbank.cli.connection import CALL_TIMEOUT_S, PAST_TIMEOUT_S, Connection
from fogbank.cli.failures import CommandError
from fogbank.v1 import (
    deployment_service_pb2,
    deployments_pb2,
    moments_pb2,
    node_service_pb2,
    nodes_pb2,
)

_PAGE = 1_000
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# As tables and events print it, or more of it.
_SHORT_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}", re.IGNORECASE)
_PREEMPTED = re.compile(rf"Preempted by ({_UUID.pattern})", re.IGNORECASE)
_MOST_NAMED = 5
_ALL = tuple(number for number in deployments_pb2.DeploymentStatus.values() if number)
LIVING = (
    deployments_pb2.DEPLOYMENT_STATUS_PENDING,
    deployments_pb2.DEPLOYMENT_STATUS_SCHEDULED,
    deployments_pb2.DEPLOYMENT_STATUS_RUNNING,
    deployments_pb2.DEPLOYMENT_STATUS_DEGRADED,
)


def all_deployments(
    connection: Connection, request: deployment_service_pb2.ListDeploymentsRequest
) -> Iterator[deployments_pb2.Deployment]:
    """Yield every deployment that the request asks for, page after page."""
    asked = deployment_service_pb2.ListDeploymentsRequest()
    asked.CopyFrom(request)
    asked.page_size = _PAGE
    while True:
        page = connection.call_in_turn(
            connection.deployments.ListDeployments, asked, _timeout_s(request.HasField("as_of"))
        )
        yield from page.deployments
        if not page.next_page_token:
            return
        asked.page_token = page.next_page_token


def all_nodes(
    connection: Connection, as_of: moments_pb2.Moment | None = None
) -> Iterator[nodes_pb2.Node]:
    """Yield every node, by name, page after page; as they were at a moment if one is given."""
    request = node_service_pb2.ListNodesRequest(page_size=_PAGE, as_of=as_of)
    while True:
        page = connection.call_in_turn(
            connection.nodes.ListNodes, request, _timeout_s(as_of is not None)
        )
        yield from page.nodes
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _timeout_s(past: bool) -> float:
    """Return how long an answer may take: the past is folded again."""
    return PAST_TIMEOUT_S if past else CALL_TIMEOUT_S


def deployment_id(connection: Connection, id_or_name: str) -> str:
    """Return the id of the one deployment that has this name, this id, or one that begins so.

    Raises:
        CommandError: there is none, or there are several.
    """
    found = deployments_called(connection, id_or_name)
    return only(found, id_or_name, "deployment", "`fog ps` lists what there is")


def anybodys_deployment_id(connection: Connection, id_or_name: str) -> str:
    """Return an id as `deployment_id` does; if the caller has none, to administrators anybody's.

    Raises:
        CommandError: there is none, or there are several; of several it says whose they are.
    """

    def with_owner(known: str) -> str:
        request = deployment_service_pb2.GetDeploymentRequest(
            deployment_id=known, with_owner_name=True
        )
        answer = connection.call(connection.deployments.GetDeployment, request)
        return f"{known} of {answer.owner_name or answer.deployment.owner_id}"

    found = deployments_called(connection, id_or_name)
    if not found:
        try:
            found = deployments_called(connection, id_or_name, all_owners=True)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                raise
    return only(found, id_or_name, "deployment", "`fog ps` lists what there is", with_owner)


def node_id(connection: Connection, id_or_name: str) -> str:
    """Return the id of the one node that has this name, this id, or one that begins so.

    Raises:
        CommandError: there is none, or there are several.
    """
    found = nodes_called(connection, id_or_name)
    return only(found, id_or_name, "node", "`fog nodes` lists what there is")


def node_reference(
    connection: Connection, id_or_name: str, as_of: moments_pb2.Moment | None = None
) -> str:
    """Return what the server knows a node by: what was given, or the id that a short one is of.

    With a moment a short id is one of the nodes there were then.

    A node that never connected, or is gone, isn't listed: of those the server itself judges.

    Raises:
        CommandError: the ids of several nodes begin so.
    """
    if _UUID.fullmatch(id_or_name) or not _SHORT_ID.fullmatch(id_or_name):
        return id_or_name
    found = nodes_called(connection, id_or_name, as_of)
    return only(found, id_or_name, "node", "") if found else id_or_name


def deployments_called(
    connection: Connection, id_or_name: str, *, all_owners: bool = False
) -> list[str]:
    """Return the ids of the caller's deployments of a name; where there are none, of a short id.

    With `all_owners` everybody's, which only administrators may ask for.
    A short id is the beginning of an id as tables print it, or more of it. A deleted deployment has
    an id still, but no name. A whole id is taken as it is.
    """
    if _UUID.fullmatch(id_or_name):
        return [id_or_name.lower()]
    request = deployment_service_pb2.ListDeploymentsRequest(
        name_contains=id_or_name, all_owners=all_owners
    )
    named = [
        each.id for each in all_deployments(connection, request) if each.spec.name == id_or_name
    ]
    if named or not _SHORT_ID.fullmatch(id_or_name):
        return named
    request = deployment_service_pb2.ListDeploymentsRequest(statuses=_ALL, all_owners=all_owners)
    beginning = id_or_name.lower()
    return [
        each.id for each in all_deployments(connection, request) if each.id.startswith(beginning)
    ]


def nodes_called(
    connection: Connection, id_or_name: str, as_of: moments_pb2.Moment | None = None
) -> list[str]:
    """Return the ids of nodes of a name; where there are none, of an id, or of a short one."""
    nodes = list(all_nodes(connection, as_of))
    named = [node.id for node in nodes if node.name == id_or_name]
    if named or not (_UUID.fullmatch(id_or_name) or _SHORT_ID.fullmatch(id_or_name)):
        return named
    return [node.id for node in nodes if node.id.startswith(id_or_name.lower())]


def only(
    found: list[str],
    called: str,
    kind: str,
    listing: str,
    shown: Callable[[str], str] = str,
) -> str:
    """Return the only thing that was found; of several some are told as they are to be `shown`.

    Raises:
        CommandError: there is none, or there are several.
    """
    if not found:
        raise CommandError(f"no {kind} is named {called!r}", hint=listing)
    if len(found) > 1:
        some = ", ".join(map(shown, found[:_MOST_NAMED])) + (
            ", …" if len(found) > _MOST_NAMED else ""
        )
        raise CommandError(
            f"{len(found)} {kind}s are named {called!r}: {some}", hint="say which one by its id"
        )
    return found[0]


def get_deployment(
    connection: Connection, deployment: str, min_sequence: int = 0
) -> deployments_pb2.Deployment:
    """Return a deployment as it is once `min_sequence` of the log is visible."""
    answer = connection.call(
        connection.deployments.GetDeployment,
        deployment_service_pb2.GetDeploymentRequest(
            deployment_id=deployment, min_sequence=min_sequence
        ),
    )
    return answer.deployment


def name_reasons(connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Put names for the ids of deployments that preempted, where the caller may see them."""
    names: dict[str, str] = {}
    for row in rows:
        found = _PREEMPTED.fullmatch(row["reason"] or "")
        if found is None:
            continue
        known = found[1].lower()
        if known not in names:
            names[known] = _name_of(connection, known)
        row["reason"] = f"Preempted by {names[known]}"


def _name_of(connection: Connection, known: str) -> str:
    """Return a deployment's name; its id where the caller may not see it."""
    try:
        return get_deployment(connection, known).spec.name
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return known


def sequence_of(etag: str) -> int:
    """Return the log sequence that an etag names; 0 if it names none."""
    first = etag.partition(".")[0]
    return int(first) if first.isdecimal() else 0
