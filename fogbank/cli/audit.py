"""`fog audit`: whether the log keeps the rules, and whether its decisions follow from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli import state_command
from fogbank.cli.failures import EXIT_DONE, EXIT_ERROR, UsageFailure
from fogbank.cli.log_reading import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    FleetName,
    Generation,
    NatsUrl,
    broker,
    log_errors,
    progress,
    quieten,
)
from fogbank.cli.output import AsTable, Output, OutputFormat, as_text, console, print_data

if TYPE_CHECKING:
    from fogbank.checker import Acknowledged, Report

app = typer.Typer(
    help="Check the log: does it keep the rules, do its decisions follow from it.",
    no_args_is_help=True,
)

app.command("state")(state_command.state)


@app.callback()
def audit() -> None:
    """Check the log: does it keep the rules, do its decisions follow from it."""


@app.command("check")
def check(  # noqa: PLR0917  one parameter for each flag
    nats_url: NatsUrl = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    fleet: FleetName = "default",
    generation: Generation = 1,
    first: Annotated[
        int, typer.Option("--first", min=1, help="Sequence with which that log begins.")
    ] = 1,
    acknowledged: Annotated[
        Path | None,
        typer.Option(
            "--acknowledged",
            help="File of JSON lines: commands acknowledged to callers, which must be in the log.",
        ),
    ] = None,
    settled: Annotated[
        bool,
        typer.Option("--settled", help="All must have come to rest: judge the final state too."),
    ] = False,
    output: Output = AsTable,
) -> int:
    """Read the whole log from the broker and check it against the rules, apart from all services.

    Says each violation with its place; exit code 1 if there is any.
    """
    import asyncio

    from fogbank.cli.whole_log import LogSource, check_source

    quieten()
    credentials, url = broker(nats_url, data_dir)
    source = LogSource(url, credentials, fleet, generation, first)
    promises = [] if acknowledged is None else _promises(acknowledged)
    with log_errors(), progress("checking") as shown:
        report = asyncio.run(check_source(source, promises, settled=settled, progress=shown))
    _print(report, output)
    return EXIT_DONE if report.clean else EXIT_ERROR


@app.command("verify")
def verify(  # noqa: PLR0917  one parameter for each flag
    nats_url: NatsUrl = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            envvar="FOG_DATA_DIR",
            help="Read the log of the `fog up` there from its broker, and derive it here.",
        ),
    ] = None,
    fleet: FleetName = "default",
    generation: Generation = 1,
    decisions: Annotated[
        bool,
        typer.Option(
            "--decisions", help="Derive every round again from what it names, and compare."
        ),
    ] = False,
    first: Annotated[
        int, typer.Option("--from", min=0, help="From this log sequence; 0 for the start.")
    ] = 0,
    last: Annotated[
        int, typer.Option("--to", min=0, help="To this log sequence; 0 for the end.")
    ] = 0,
    output: Output = AsTable,
) -> int:
    """Derive the log's decisions again, and name what comes out differently.

    The server's ledger does it with its copy of the log; with a broker's address or a data
    directory it is done here, with the log itself. Exit code 1 if anything differs. Rounds of
    another engine are counted as unverifiable: run the release that made them.
    """
    from fogbank.cli.decision_audit import (
        print_verification,
        verified_by_the_ledger,
        verified_here,
    )

    if not decisions:
        raise UsageFailure("say what to verify: --decisions")
    if nats_url is None and data_dir is None:
        with progress("deriving again") as shown:
            found = verified_by_the_ledger(first, last, shown)
    else:
        from fogbank.cli.whole_log import LogSource

        quieten()
        credentials, url = broker(nats_url, data_dir or DEFAULT_DATA_DIR)
        source = LogSource(url, credentials, fleet, generation)
        with log_errors(), progress("deriving again") as shown:
            found = verified_here(source, first, last, shown)
    print_verification(found, output)
    return EXIT_DONE if found.clean else EXIT_ERROR


def _promises(path: Path) -> "list[Acknowledged]":
    from fogbank.checker import parse_acknowledged

    try:
        return parse_acknowledged(path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise UsageFailure(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageFailure(f"{path}, {error}") from error


def _print(report: "Report", output: OutputFormat) -> None:
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(as_data(report), output)
    elif output is OutputFormat.NAME:
        for rule in sorted({violation.rule.value for violation in report.violations}):
            print(rule)
    else:
        _print_for_people(report)


def as_data(report: "Report") -> dict[str, Any]:
    """Return a report as plain data."""
    from dataclasses import asdict

    return {
        "clean": report.clean,
        "violations_total": report.violations_total,
        "violations": [
            asdict(violation) | {"rule": violation.rule.value} for violation in report.violations
        ],
        "counts": asdict(report.counts)
        | {"max_booked_percent": round(report.counts.max_booked_percent, 1)},
    }


def _print_for_people(report: "Report") -> None:
    screen = console()
    for violation in report.violations:
        screen.print(str(violation), markup=False)
    unsaid = report.violations_total - len(report.violations)
    if unsaid:
        screen.print(f"... and {unsaid} more")
    for key, value in as_data(report)["counts"].items():
        screen.print(f"{key.replace('_', ' ') + ':':<22}{as_text(value)}", markup=False)
    total = report.violations_total
    verdict = "no rule is broken" if report.clean else f"{total} violations"
    screen.print(f"{'verdict:':<22}{verdict}", style="green" if report.clean else "red")
