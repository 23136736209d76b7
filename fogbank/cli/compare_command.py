"""`fog audit compare`: what another policy would have done with what really happened."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import CommandError, UsageFailure
from fogbank.cli.output import (
    AsTable,
    Column,
    Output,
    OutputFormat,
    console,
    print_data,
    print_list,
)

if TYPE_CHECKING:
    from fogbank.domain.comparison import ComparedPart, Difference, Fate

_FIGURES = (
    Column("FIGURE", "figure"),
    Column("ACTUAL", "actual"),
    Column("ALTERNATIVE", "alternative"),
    Column("CHANGE", "change"),
)
_DIFFERENCES = (
    Column("NAME", "name"),
    Column("ID", "deployment_id", wide=True),
    Column("ACTUAL", "actual"),
    Column("ALTERNATIVE", "alternative"),
)
_DIFFERENCES_SHOWN = 20


def compare(
    policy: Annotated[
        str, typer.Option("--policy", help="The other policy, by its name (fog policy list).")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="The other policy, whole: YAML or JSON.")
    ] = None,
    first: Annotated[
        int, typer.Option("--from", min=0, help="From this log sequence; 0 for the start.")
    ] = 0,
    last: Annotated[
        int, typer.Option("--to", min=0, help="To this log sequence; 0 for the end.")
    ] = 0,
    output: Output = AsTable,
) -> None:
    """Say what another policy would have made of a span of the log.

    The same commands, nodes and failures are decided once more by the other policy. It can't know
    what hosts and programs would have done elsewhere: replicas run as soon as they are placed, end
    by themselves as they did, and measured loads stay those of the log.
    """
    if bool(policy) == (file is not None):
        raise UsageFailure("give either a known policy's name with --policy or a file with -f")
    found = _compared(policy, file, first, last)
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(as_data(found), output)
    elif output is OutputFormat.NAME:
        for each in found.differences:
            print(each.deployment_id)
    else:
        _print_for_people(found, output)


def _compared(policy: str, file: Path | None, first: int, last: int) -> "ComparedPart":
    from fogbank.cli.connection import connect
    from fogbank.cli.log_reading import progress
    from fogbank.cli.policy_commands import read_policy
    from fogbank.codec.comparison import compared_from_pb
    from fogbank.v1 import audit_service_pb2 as pb

    request = pb.CompareReplayRequest(
        policy_name=policy,
        policy=None if file is None else read_policy(file),
        from_sequence=first,
        to_sequence=last,
    )
    message = None
    with connect() as connection, progress("comparing") as shown:
        for message in connection.audit.CompareReplay(request, metadata=connection.metadata):
            shown(message.replayed, message.total)
    if message is None:
        raise CommandError("the server sent nothing")
    return compared_from_pb(message)


def as_data(found: "ComparedPart") -> dict[str, Any]:
    """Return what a comparison came to as plain data."""
    from dataclasses import asdict

    return {
        "first_sequence": found.span.first,
        "last_sequence": found.span.last,
        "figures": {
            name: {"actual": found.actual.get(name), "alternative": found.alternative.get(name)}
            for name in _names(found)
        },
        "deployments": found.deployments,
        "differing": found.differing,
        "differences": [asdict(each) for each in found.differences],
    }


def _names(found: "ComparedPart") -> list[str]:
    """Return the figures' names; they come from maps without an order."""
    from fogbank.domain.comparison import FIGURES

    known = found.actual.keys() | found.alternative.keys()
    return [name for name in FIGURES if name in known] + sorted(known - set(FIGURES))


def _print_for_people(found: "ComparedPart", output: OutputFormat) -> None:
    rows = [_figure(name, found.actual, found.alternative) for name in _names(found)]
    print_list(rows, _FIGURES, output, name_key="figure", empty="nothing to compare")
    screen = console()
    screen.print(
        f"\ncommits {found.span.first} to {found.span.last}: {found.differing} of "
        f"{found.deployments} deployments fared differently",
        style="bold",
    )
    most = None if output is OutputFormat.WIDE else _DIFFERENCES_SHOWN
    some = found.differences[:most]
    if some:
        print_list(
            [_difference(each) for each in some], _DIFFERENCES, output, name_key="name", empty=""
        )
    unsaid = found.differing - len(some)
    if some and unsaid:
        screen.print(f"... and {unsaid} more; -o wide and -o json show up to 500")


def _figure(
    name: str, actual: Mapping[str, float], alternative: Mapping[str, float]
) -> dict[str, Any]:
    before, after = actual.get(name), alternative.get(name)
    change = "" if before is None or after is None else _signed(after - before)
    return {
        "figure": name.replace("_", " "),
        "actual": _number(before),
        "alternative": _number(after),
        "change": change,
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.3f}".rstrip("0").rstrip(".")


def _signed(value: float) -> str:
    text = _number(abs(value))
    if text == "0":
        return "="
    return f"+{text}" if value > 0 else f"-{text}"


def _difference(each: "Difference") -> dict[str, Any]:
    return {
        "name": each.name,
        "deployment_id": each.deployment_id,
        "actual": _fate(each.actual),
        "alternative": _fate(each.alternative),
    }


def _fate(fate: "Fate") -> str:
    nodes = f" on {', '.join(fate.nodes)}" if fate.nodes else ""
    evicted = f", evicted {fate.evicted} times" if fate.evicted else ""
    return f"{fate.standing}{nodes}{evicted}"
