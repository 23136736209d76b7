"""Answers in the form asked for: tables for people, JSON, YAML and names for programs."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class OutputFormat(StrEnum):
    """How to print."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


Output = Annotated[
    OutputFormat,
    typer.Option("-o", "--output", help="table, wide, json, yaml or name (ids only)."),
]
AsTable = OutputFormat.TABLE
At = Annotated[
    str,
    typer.Option(
        "--at", help="As it was: after a log sequence, at a time in ISO 8601, or '2 hours ago'."
    ),
]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, the key of its value, whether only `wide` shows it."""

    heading: str
    key: str
    wide: bool = False


_UNLIMITED = 10_000

# What a status looks like; the word itself is always there.
_STYLES = {
    "running": "green",
    "healthy": "green",
    "active": "green",
    "idle": "green",
    "scheduled": "cyan",
    "starting": "cyan",
    "pending": "yellow",
    "degraded": "yellow",
    "maintenance": "yellow",
    "busy": "yellow",
    "failed": "red",
    "unhealthy": "red",
    "offline": "red",
    "deleted": "dim",
    "stopped": "dim",
}


def console(*, errors: bool = False) -> "Console":
    """Return a console on standard output, or standard error; NO_COLOR is honoured.

    What isn't a terminal gets lines as long as they are.
    """
    from rich.console import Console

    stream = sys.stderr if errors else sys.stdout
    made = Console(file=stream, highlight=False, no_color="NO_COLOR" in os.environ or None)
    if not made.is_terminal:
        made.width = _UNLIMITED
    return made


def print_list(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    output: OutputFormat,
    *,
    name_key: str,
    empty: str,
) -> None:
    """Print many things; `empty` is said on standard error when a table would have no row."""
    if output in {OutputFormat.TABLE, OutputFormat.WIDE}:
        if rows:
            print_table(table(rows, columns, wide=output is OutputFormat.WIDE))
        else:
            print(empty, file=sys.stderr)
    elif output is OutputFormat.NAME:
        for row in rows:
            print(row[name_key])
    else:
        print_data([dict(row) for row in rows], output)


def print_table(made: "RenderableType") -> None:
    """Print a table with columns as wide as they need; a terminal wraps what is too long."""
    for line in _lines(made):
        print(line)


def fitted(made: "RenderableType") -> "RenderableType":
    """Return a table for a display that is drawn anew: cut off at the screen's right edge."""
    from rich.text import Text

    return Text.from_ansi("\n".join(_lines(made)), no_wrap=True, overflow="ellipsis")


def _lines(made: "RenderableType") -> list[str]:
    """Return a table as lines, styled for the terminal that standard output may be."""
    screen = console()
    screen.width = _UNLIMITED
    with screen.capture() as capture:
        screen.print(made)
    return [line.rstrip() for line in capture.get().splitlines()]


def print_data(value: Any, output: OutputFormat) -> None:
    """Print a value as JSON or YAML."""
    if output is OutputFormat.YAML:
        import yaml

        # Each part in full: a reference to what stands above means nothing in a file of its own.
        parts = json.loads(json.dumps(value))
        print(yaml.safe_dump(parts, sort_keys=False, allow_unicode=True), end="")
    else:
        print(json.dumps(value, indent=2, ensure_ascii=False))


def table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, wide: bool = False
) -> "RenderableType":
    """Return a plain table, as `ps` prints them."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown = [column for column in columns if wide or not column.wide]
    for column in shown:
        made.add_column(column.heading, no_wrap=True)
    for row in rows:
        made.add_row(*(_cell(row.get(column.key), Text) for column in shown))
    return made


def _cell(value: Any, text_kind: Any) -> "RenderableType":
    text = as_text(value)
    made: RenderableType = text_kind(text, style=_STYLES.get(text, ""))
    return made


def counted(number: float, thing: str = "replica") -> str:
    """Return how many of a thing, whose name takes an s for several."""
    shown = f"{number:.15g}"
    return f"{shown} {thing}" if number == 1 else f"{shown} {thing}s"


def as_text(value: Any) -> str:
    """Return a value as it stands in a table; nothing known is a dash."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={part}" for key, part in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ",".join(as_text(part) for part in value) or "-"
    return str(value)
