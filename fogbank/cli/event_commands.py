"""`fog events`: the log, as it is and as it grows."""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.output import AsTable, Output, OutputFormat, as_text

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection
    from fogbank.v1.audit_service_pb2 import ReadEventsRequest, ReadEventsResponse

_RETRY_PAUSE_S = 0.5
_SHORT_ID = 8


def events(  # noqa: PLR0917  one parameter for each flag
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")
    ] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="After this log sequence.")] = 0,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only this type, as fogbank.v1.DeploymentCreated; repeatable."),
    ] = None,
    about: Annotated[
        list[str] | None,
        typer.Option("--about", help="Only this thing, as deployment/ID or node/ID; repeatable."),
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
        after_sequence=after, follow=follow, types=types, aggregates=about, subjects=subjects
    )
    with connect() as connection:
        for commit in _commits(connection, wanted):
            for event in rows(commit):
                _print(event, output)
            sys.stdout.flush()


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
