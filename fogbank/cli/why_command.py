"""`fog audit why`: from the last thing that happened to something back to where it began."""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import CommandError
from fogbank.cli.output import AsTable, Output, OutputFormat, print_data

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection
    from fogbank.cli.record_command import Record

_Row = dict[str, Any]
_Place = tuple[int, int]


def why(
    thing: Annotated[
        str, typer.Argument(help="deployment/ID or NAME, replica/ID, node/ID or NAME")
    ],
    before: Annotated[
        int, typer.Option("--before", min=0, help="Before this log sequence; 0 for the last.")
    ] = 0,
    output: Output = AsTable,
) -> None:
    """Say what led to the last thing that was asked or decided about something, cause by cause.

    The first line is what happened last, each further one what led to the one before it, down to a
    user's command or to what a host did of itself.
    """
    from fogbank.cli.connection import connect
    from fogbank.cli.record_command import Record, names, resolved
    from fogbank.cli.record_lines import cause_text, lines

    with connect() as connection:
        record = Record(resolved(connection, thing))
        chain = list(_chain(connection, record, before))
        if not chain:
            raise CommandError(f"nothing in the record of {thing} names a cause")
        if output in {OutputFormat.JSON, OutputFormat.YAML}:
            print_data(chain, output)
        elif output is OutputFormat.NAME:
            for row in chain:
                print(row["event_id"])
        else:
            named = names(connection, record.actors)
            for depth, row in enumerate(chain):
                head = f"{'because ' if depth else ''}{row['sequence']}.{row['index']}"
                if row["payload"] is None:
                    said = [cause_text(row, named)]
                else:
                    said = list(lines(row | {"causes": []}, record.thing, named))
                for line in said:
                    print(f"{head:>16}  {row['appended_at'] or ''}  {line}")
                    head = ""
    sys.stdout.flush()


def _chain(connection: "Connection", record: "Record", before: int) -> Iterator[_Row]:
    from fogbank.cli.record_command import events

    known: dict[_Place, _Row] = {}
    row: _Row | None = None
    for each in events(connection, record, 0):
        if before and each["sequence"] >= before:
            break
        known[each["sequence"], each["index"]] = each
        if any(each["causes"]) or _is_command(each):
            row = each
    seen: set[_Place] = set()
    while row is not None and (row["sequence"], row["index"]) not in seen:
        yield row
        seen.add((row["sequence"], row["index"]))
        cause = next((each for each in reversed(row["causes"]) if each), None)
        if cause is None:
            return
        place = (cause["sequence"], cause["index"])
        row = (
            known.get(place)
            or _other(connection, place, json.dumps(row["payload"]))
            or _named(cause)
        )


def _is_command(row: _Row) -> bool:
    """Tell whether somebody asked for it, who is then its beginning."""
    from fogbank.domain.envelope import SERVICE_ACCOUNT, USER

    return row["actor"].partition("/")[0] in {USER, SERVICE_ACCOUNT}


def _named(cause: _Row) -> _Row | None:
    """Return what is said of an event that isn't the caller's to see, in the place of its row."""
    return {**cause, "payload": None, "causes": []} if "type" in cause else None


def _other(connection: "Connection", place: _Place, led_to: str) -> _Row | None:
    """Return an event outside the record; of a round what names a node or deployment in `led_to`.

    None for one that isn't the caller's to see.
    """
    from fogbank.cli.event_commands import rows
    from fogbank.cli.record_command import with_causes
    from fogbank.v1 import audit_service_pb2 as pb

    sequence, index = place
    call = connection.audit.ReadEvents(
        pb.ReadEventsRequest(after_sequence=sequence - 1), metadata=connection.metadata
    )
    try:
        commit = next(iter(call), None)
    finally:
        call.cancel()
    if commit is None or commit.sequence != sequence:
        return None
    for logged, row in zip(commit.events, rows(commit), strict=True):
        if logged.index == index:
            return _part(with_causes(logged, row), led_to)
    return None


def _part(row: _Row, led_to: str) -> _Row:
    outcomes = row["payload"].get("outcomes")
    if not outcomes:
        return row
    pairs = [
        (outcome, cause)
        for outcome, cause in zip(outcomes, row["causes"], strict=False)
        if any(
            decided.get(key) and str(decided[key]) in led_to
            for decided in outcome.values()
            for key in ("node_id", "deployment_id")
        )
    ]
    payload = row["payload"] | {"outcomes": [outcome for outcome, _ in pairs], "observations": []}
    return row | {"payload": payload, "causes": [cause for _, cause in pairs]}
