"""`fog audit`: whether the log keeps the rules, and whether its decisions follow from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import EXIT_DONE, EXIT_ERROR, CommandError, UsageFailure
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
    from fogbank.cli.verification import Verification

app = typer.Typer(
    help="Check the log: does it keep the rules, do its decisions follow from it.",
    no_args_is_help=True,
)


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
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    fleet: FleetName = "default",
    generation: Generation = 1,
    decisions: Annotated[
        bool,
        typer.Option(
            "--decisions", help="Derive every round again from what it names, and compare."
        ),
    ] = False,
    output: Output = AsTable,
) -> int:
    """Read the whole log from the broker and derive it again; name what comes out differently.

    Exit code 1 if anything does. Rounds of another engine are counted as unverifiable: run the
    release that made them.
    """
    import asyncio

    if not decisions:
        raise UsageFailure("say what to verify: --decisions")
    try:
        from fogbank.cli.verification import verify_source
    except ModuleNotFoundError as error:
        raise CommandError(
            f"deciding needs {error.name}, which isn't installed",
            hint="install fogbank[scheduler] beside the command line",
        ) from error
    from fogbank.cli.whole_log import LogSource

    quieten()
    credentials, url = broker(nats_url, data_dir)
    source = LogSource(url, credentials, fleet, generation)
    with log_errors(), progress("deriving again") as shown:
        found = asyncio.run(verify_source(source, shown))
    _print_verification(found, output)
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


def _print_verification(found: "Verification", output: OutputFormat) -> None:
    from dataclasses import asdict

    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        data = {
            "clean": found.clean,
            "commits": found.commits,
            "rounds": {
                "same": found.same,
                "different": found.different_total,
                "unverifiable": sum(found.unverifiable.values()),
                "void": found.void,
            },
            "unverifiable_by_engine": {
                str(engine): rounds for engine, rounds in sorted(found.unverifiable.items())
            },
            "different": [
                {"sequence": each.sequence, "terms": [asdict(term) for term in each.terms]}
                for each in found.different
            ],
        }
        print_data(data, output)
    elif output is OutputFormat.NAME:
        for each in found.different:
            print(each.sequence)
    else:
        _print_verification_for_people(found)


def _print_verification_for_people(found: "Verification") -> None:
    screen = console()
    for each in found.different:
        screen.print(f"round at sequence {each.sequence} comes out differently:", style="red")
        for term in each.terms:
            screen.print(f"  {term}", markup=False)
    unsaid = found.different_total - len(found.different)
    if unsaid:
        screen.print(f"... and {unsaid} more rounds")
    screen.print(f"{'commits:':<22}{found.commits}")
    screen.print(f"{'rounds derived again:':<22}{found.same + found.different_total}")
    screen.print(f"{'void rounds:':<22}{found.void}")
    for engine, rounds in sorted(found.unverifiable.items()):
        screen.print(f"{'unverifiable:':<22}{rounds} rounds of engine {engine}")
    verdict = "every one the same" if found.clean else f"{found.different_total} differ"
    screen.print(f"{'verdict:':<22}{verdict}", style="green" if found.clean else "red")
