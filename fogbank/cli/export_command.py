"""`fog audit export`: the log, or the record of one thing, as a file for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fogbank.cli.output import counted

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection


def export(
    file: Annotated[Path, typer.Argument(help="Where to: a name ending in .jsonl or .parquet.")],
    thing: Annotated[
        str,
        typer.Option("--thing", help="Only the record of this thing, as `fog audit log` takes it."),
    ] = "",
    after: Annotated[int, typer.Option("--after", min=0, help="After this log sequence.")] = 0,
) -> None:
    """Write events to a file: all of the log that you may see, or what touches one thing."""
    from fogbank.cli.connection import connect
    from fogbank.cli.record_command import resolved

    with connect() as connection:
        thing = resolved(connection, thing) if thing else ""
        print(f"{counted(exported(connection, file, thing, after), 'event')} written to {file}")


def exported(connection: "Connection", file: Path, thing: str, after: int) -> int:
    """Write the events that touch a thing, all of them for an empty one; return how many."""
    from fogbank.cli.exports import written
    from fogbank.cli.log_reading import progress
    from fogbank.cli.record_command import Record, events

    count = 0
    with written(file) as rows, progress("exporting") as shown:
        for event in events(connection, Record(thing), after, shown):
            rows.write(event)
            count += 1
    return count
