"""`fog audit log`: the record of one thing, in order, with what was decided about it and why."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.output import AsTable, Output, OutputFormat, counted

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection
    from fogbank.v1.audit_service_pb2 import LoggedEvent

_SHORT_ID = 8


@dataclass
class Record:
    """What the server says of a record beside its events, from the first of them on.

    `thing` is what it is of, by its id as soon as that is known; `actors` are names of users by id.
    """

    thing: str
    actors: dict[str, str] = field(default_factory=dict)


def log(
    thing: Annotated[
        str,
        typer.Argument(
            help="deployment/ID or NAME, replica/ID, node/ID or NAME, user/ID or NAME, "
            "cluster/ID or NAME, organization/ID or NAME."
        ),
    ],
    after: Annotated[int, typer.Option("--after", min=0, help="After this log sequence.")] = 0,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write it to this file, .jsonl or .parquet."),
    ] = None,
    output: Output = AsTable,
) -> None:
    """Tell all that the log says of one thing; -o json prints one JSON object a line."""
    from fogbank.cli.connection import connect
    from fogbank.cli.export_command import exported
    from fogbank.cli.record_changes import Changes
    from fogbank.domain.position import pack

    with connect() as connection:
        thing = resolved(connection, thing)
        if export is not None:
            written = counted(exported(connection, export, thing, after), "event")
            print(f"{written} written to {export}")
            return
        record = Record(thing)
        named = names(connection, record.actors)
        # Other records have only some of the commands on a deployment.
        changes = Changes() if thing.startswith("deployment/") else None
        event: dict[str, Any] | None = None
        for logged, event in _logged(connection, record, after):
            position = pack(event["sequence"], event["index"])
            changed = (
                changes.told(logged.envelope, position, void=logged.void)
                if changes is not None
                else ""
            )
            _print(event, record.thing, named, output, changed)
        if event is None:
            print(f"nothing in the log about {thing}", file=sys.stderr)


def resolved(connection: "Connection", thing: str) -> str:
    """Return a thing with its id in the place of its name; of nodes in that of a short id."""
    from fogbank.cli.lookups import anybodys_deployment_id, node_reference
    from fogbank.cli.tenancy_lookups import cluster_number, organization_number

    kind, _, name = thing.partition("/")
    lookups: dict[str, Callable[[Connection, str], str | int]] = {
        "deployment": anybodys_deployment_id,
        "node": node_reference,
        "cluster": cluster_number,
        "organization": organization_number,
    }
    if kind not in lookups or not name:
        return thing
    return f"{kind}/{lookups[kind](connection, name)}"


def events(
    connection: "Connection",
    record: Record,
    after: int,
    progress: Callable[[int, int], None] = lambda _done, _last: None,
) -> Iterator[dict[str, Any]]:
    """Yield the events that touch a thing (all for an empty one), with their causes.

    `progress` gets the sequence that was read and the last one.
    """
    for _logged_event, row in _logged(connection, record, after, progress):
        yield row


def _logged(
    connection: "Connection",
    record: Record,
    after: int,
    progress: Callable[[int, int], None] = lambda _done, _last: None,
) -> Iterator[tuple["LoggedEvent", dict[str, Any]]]:
    """Yield the events of `events` as the server sends them, too."""
    from fogbank.cli.event_commands import rows
    from fogbank.v1 import audit_service_pb2 as pb

    request = pb.ReadEventsRequest(after_sequence=after, touching=record.thing)
    for commit in connection.audit.ReadEvents(request, metadata=connection.metadata):
        progress(commit.sequence, commit.last_sequence)
        record.thing = commit.touching or record.thing
        record.actors |= commit.actor_names
        for logged, row in zip(commit.events, rows(commit), strict=True):
            yield logged, with_causes(logged, row)


def with_causes(logged: "LoggedEvent", row: dict[str, Any]) -> dict[str, Any]:
    """Return an event's row with what led to it.

    `causes` has one for each outcome of a round or observation of a report, None for nothing in the
    log; where the server doesn't say what a cause is, its place alone.
    """
    from fogbank.cli.views import instant
    from fogbank.domain.position import index_of, sequence_of

    envelope = logged.envelope
    known = {
        cause.position: {
            "event_id": cause.event_id,
            "type": cause.type,
            "aggregate": cause.aggregate,
            "actor": cause.actor,
            "appended_at": instant(cause.appended_at),
        }
        for cause in logged.causes
    }
    causes = [
        {"sequence": sequence_of(each), "index": index_of(each)} | known.get(each, {})
        if each
        else None
        for each in envelope.causes
    ]
    return row | {
        "void": logged.void,
        "causation_id": envelope.causation_id,
        "correlation_id": envelope.correlation_id,
        "causes": causes,
    }


def names(connection: "Connection", actors: Mapping[str, str]) -> Callable[[str, str], str]:
    """Return what names nodes and deployments: those it may see, others by their ids.

    Users it names by `actors`, which may grow meanwhile; others not at all.
    """
    import grpc

    from fogbank.cli.lookups import all_nodes, get_deployment

    @cache
    def nodes() -> dict[str, str]:
        return {node.id: node.name for node in all_nodes(connection)}

    def named(kind: str, id_: str) -> str:
        if kind == "user":
            return actors.get(id_, "")
        if kind == "node":
            return nodes().get(id_, f"node {id_[:_SHORT_ID]}")
        return deployment(id_)

    @cache
    def deployment(id_: str) -> str:
        try:
            found = get_deployment(connection, id_)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return f"deployment {id_}"
        return f"{found.spec.name} (priority {found.spec.priority}, {id_[:_SHORT_ID]})"

    return named


def _print(
    event: dict[str, Any],
    thing: str,
    named: Callable[[str, str], str],
    output: OutputFormat,
    changed: str,
) -> None:
    if output is OutputFormat.JSON:
        print(json.dumps(event, ensure_ascii=False))
    elif output is OutputFormat.YAML:
        import yaml

        print("---\n" + yaml.safe_dump(event, sort_keys=False, allow_unicode=True), end="")
    elif output is OutputFormat.NAME:
        print(event["event_id"])
    else:
        _print_for_people(event, thing, named, changed, wide=output is OutputFormat.WIDE)
    sys.stdout.flush()


def _print_for_people(
    event: dict[str, Any],
    thing: str,
    named: Callable[[str, str], str],
    changed: str,
    *,
    wide: bool,
) -> None:
    from fogbank.cli.record_lines import lines

    position = f"{event['sequence']}.{event['index']}"
    head = f"{position:>9}  {event['appended_at'] or '':<24}"
    for line in lines(event, thing, named, changed):
        print(f"{head}  {line}")
        head = " " * len(head)
    if wide:
        print(f"{head}    event {event['event_id']} by {event['actor']}")
