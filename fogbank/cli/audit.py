"""`fog audit`: whether the log keeps the rules."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import EXIT_DONE, EXIT_ERROR, CommandError, UsageFailure
from fogbank.cli.output import AsTable, Output, OutputFormat, as_text, console, print_data

if TYPE_CHECKING:
    from fogbank.checker import Acknowledged, Report

# The broker's user for whoever checks.
_USER = "checker"

app = typer.Typer(help="Check the log: does it keep the rules.", no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Check the log: does it keep the rules."""


@app.command("check")
def check(  # noqa: PLR0917  one parameter for each flag
    nats_url: Annotated[
        str | None,
        typer.Option(
            "--nats-url",
            envvar="FOG_NATS_URL",
            help="The broker's address; else that of the system in the data directory.",
        ),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", envvar="FOG_DATA_DIR", help="Of the running `fog up`.")
    ] = Path(".fogbank"),
    fleet: Annotated[str, typer.Option("--fleet", help="Whose log.")] = "default",
    generation: Annotated[int, typer.Option("--generation", min=1, help="Which of its logs.")] = 1,
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
    from fogbank.log.port import LogBrokenError, LogPermissionError, LogUnavailableError

    _quieten()
    credentials, url = _broker(nats_url, data_dir)
    source = LogSource(url, credentials, fleet, generation, first)
    promises = [] if acknowledged is None else _promises(acknowledged)
    try:
        with _progress() as progress:
            report = asyncio.run(check_source(source, promises, settled=settled, progress=progress))
    except LogUnavailableError as error:
        raise CommandError(
            f"cannot read the log: {error}", hint="is the system running, and is it this fleet?"
        ) from error
    except LogPermissionError as error:
        raise CommandError(f"cannot read the log: {error}") from error
    except LogBrokenError as error:
        raise CommandError(f"the log is broken: {error}") from error
    except ValueError as error:  # names that cannot be those of a fleet
        raise UsageFailure(str(error)) from error
    _print(report, output)
    return EXIT_DONE if report.clean else EXIT_ERROR


def _quieten() -> None:
    """Let the log's reader speak of errors only, and never on standard output."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _broker(nats_url: str | None, data_dir: Path) -> tuple[Any, str]:
    """Return credentials and address: those given, else those of the data directory's system."""
    from fogbank.local.data_dir import DataDir
    from fogbank.local.secret_files import SecretFiles, read_secret
    from fogbank.local.state import read_state
    from fogbank.log.nats_connection import NatsCredentials
    from fogbank.log.opening import credentials_of
    from fogbank.runtime.operator_error import OperatorError
    from fogbank.runtime.settings import FleetSettings, load

    if nats_url:
        try:
            return credentials_of(load(FleetSettings)), nats_url
        except OperatorError as error:
            raise UsageFailure(str(error)) from error
    data = DataDir(data_dir.absolute())
    state = read_state(data)
    if state is None:
        raise CommandError(
            f"no system was started in {data_dir}",
            hint="name its data directory with --data-dir, or a broker with --nats-url",
        )
    password_file = SecretFiles(data.secrets).nats_password(_USER)
    if state.nats.startswith("nats://operator:") and password_file.exists():
        # The system's own broker: be the user who may only read.
        password = read_secret(password_file)
        return NatsCredentials(_USER, password), f"nats://{state.nats.rpartition('@')[2]}"
    return None, state.nats


def _promises(path: Path) -> "list[Acknowledged]":
    from fogbank.checker import parse_acknowledged

    try:
        return parse_acknowledged(path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise UsageFailure(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageFailure(f"{path}, {error}") from error


@contextmanager
def _progress() -> "Generator[Callable[[int, int], None]]":
    """Show how far the check is, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("checking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("commits"),
        TimeElapsedColumn(),
        console=console(errors=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, last: shown.update(task, completed=done, total=last)


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
