"""`fog events`: the log, as it is and as it grows."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import UsageFailure
from fogbank.cli.output import AsTable, Output, OutputFormat, as_text

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection
    from fogbank.v1.audit_service_pb2 import ReadEventsRequest, ReadEventsResponse

_RETRY_PAUSE_S = 0.5
_SHORT_ID = 8
_ONLY_ONE = ("policy", "fleet")


def events(  # noqa: PLR0917  one parameter for each flag
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")
    ] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="After this log sequence.")] = 0,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only this type, such as DeploymentCreated; repeatable."),
    ] = None,
    about: Annotated[
        list[str] | None,
        typer.Option(
            "--about",
            help="Only this thing: a deployment or node by name or id, or KIND/ID; repeatable.",
        ),
    ] = None,
    subjects: Annotated[
        list[str] | None,
        typer.Option(
            "--subject",
            help="Only commits on this subject of the log, as 'fogbank.log.*.*.scheduler.>'; "
            "repeatable.",
        ),
    ] = None,
    output: Output = AsTable,
) -> None:
    """Print the log's events; -o json prints one JSON object a line."""
    from fogbank.cli.connection import connect
    from fogbank.v1.audit_service_pb2 import ReadEventsRequest

    wanted = ReadEventsRequest(
        after_sequence=after, follow=follow, types=_types(types or []), subjects=subjects
    )
    with connect() as connection:
        wanted.aggregates.extend(_aggregate(connection, each) for each in about or [])
        for commit in _commits(connection, wanted):
            for event in rows(commit):
                _print(event, output)
            sys.stdout.flush()


def _types(words: list[str]) -> list[str]:
    """Return the full names of types of events, given those or their last parts."""
    from fogbank.codec.registry import EVENT_TYPES

    known = {name.rpartition(".")[2].lower(): name for name in EVENT_TYPES}
    known |= {name.lower(): name for name in EVENT_TYPES}
    for word in words:
        if word.lower() not in known:
            there = ", ".join(sorted(name.rpartition(".")[2] for name in EVENT_TYPES))
            raise UsageFailure(f"--type {word} is no type of event", hint=f"there are {there}")
    return [known[word.lower()] for word in words]


def _aggregate(connection: "Connection", about: str) -> str:
    """Return what a thing is called in events, given its name, its id or the beginning of that."""
    from fogbank.cli.lookups import deployment_id, deployments_called, node_id, nodes_called, only
    from fogbank.cli.tenancy_lookups import cluster_number, organization_number

    kind, _, called = about.partition("/")
    if about in _ONLY_ONE or (kind == "token" and called):
        return about
    if not called:
        nodes = nodes_called(connection, kind)
        # A whole id says itself of which kind it is: deployments are not asked for theirs.
        deployments = [] if kind.lower() in nodes else deployments_called(connection, kind)
        found = [f"deployment/{known}" for known in deployments]
        found += [f"node/{known}" for known in nodes]
        return only(found, kind, "deployment or node", "`fog ps` and `fog nodes` list them")
    lookups: dict[str, Callable[[Connection, str], object]] = {
        "deployment": deployment_id,
        "node": node_id,
        "cluster": cluster_number,
        "organization": organization_number,
    }
    if kind not in lookups:
        raise UsageFailure(
            f"--about {about}: events are about {', '.join([*lookups, 'token', *_ONLY_ONE])}",
            hint="`fog audit log` tells of replicas and users too",
        )
    return f"{kind}/{lookups[kind](connection, called)}"


def _commits(
    connection: "Connection", wanted: "ReadEventsRequest"
) -> "Iterator[ReadEventsResponse]":
    """Yield commits in order; goes on where it was if the server was away or a token ended."""
    import time

    import grpc

    while True:
        stream = connection.while_signed_in(
            lambda: connection.audit.ReadEvents(wanted, metadata=connection.metadata)
        )
        try:
            for commit in stream:
                wanted.after_sequence = max(wanted.after_sequence, commit.sequence)
                yield commit
        except grpc.RpcError as error:
            if not wanted.follow or error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            time.sleep(_RETRY_PAUSE_S)
        else:
            if not wanted.follow:
                return


def rows(commit: "ReadEventsResponse") -> Iterator[dict[str, Any]]:
    """Yield the events of a commit as plain values."""
    from fogbank.cli.views import instant

    for logged in commit.events:
        envelope = logged.envelope
        try:
            payload = json.loads(logged.payload_json) if logged.payload_json else {}
        except json.JSONDecodeError:
            payload = {"text": logged.payload_json}
        yield {
            "sequence": commit.sequence,
            "index": logged.index,
            "appended_at": instant(commit.appended_at),
            "type": envelope.type,
            "aggregate": envelope.aggregate,
            "actor": envelope.actor,
            "event_id": envelope.event_id,
            "payload": payload,
        }


def _print(event: dict[str, Any], output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print(json.dumps(event, ensure_ascii=False))
    elif output is OutputFormat.YAML:
        import yaml

        print("---\n" + yaml.safe_dump(event, sort_keys=False, allow_unicode=True), end="")
    elif output is OutputFormat.NAME:
        print(event["event_id"])
    else:
        wide = output is OutputFormat.WIDE
        position = f"{event['sequence']}.{event['index']}"
        kind = event["type"].rpartition(".")[2]
        about = event["aggregate"] if wide else _shortened(event["aggregate"])
        line = f"{position:>9}  {as_text(event['appended_at']):<24}  {kind:<26}  {about}"
        if wide:
            line += f"  {event['actor']}  {json.dumps(event['payload'], ensure_ascii=False)}"
        print(line)


def _shortened(aggregate: str) -> str:
    kind, slash, id_ = aggregate.partition("/")
    return f"{kind}{slash}{id_[:_SHORT_ID]}"
