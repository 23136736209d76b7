"""`fog audit restore`, `rebuild` and `keys`: work on what the ledger keeps, by its own program."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from fogbank.cli.failures import EXIT_DONE, EXIT_ERROR, CommandError, UsageFailure
from fogbank.cli.log_reading import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    FleetName,
    Generation,
    NatsUrl,
    progress,
)
from fogbank.cli.output import AsTable, Output, OutputFormat, console, print_data
from fogbank.cli.service_work import report_of

_OPERATOR = "operator"

# What a report calls what is wrong, and what people are told of it.
_WRONG = {
    "missing_in_log": "missing in the log",
    "changed_in_log": "changed in the log",
    "damaged_copies": "damaged in the copy",
    "lost_in_both": "lost in both",
    "lost_behind_the_copy": "lost, and not copied yet",
    "problem": "the copy",
}


def restore(  # noqa: PLR0917  one parameter for each flag
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only compare both stores; change nothing.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="The broker may hold another log: that is deleted."),
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Go on without commits that only the broker had, and lost.",
        ),
    ] = False,
    nats_url: NatsUrl = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    fleet: FleetName = "default",
    generation: Generation = 1,
    output: Output = AsTable,
) -> int:
    """Mend the broker's log and the ledger's copy of it from one another.

    Compares every commit of both. A log that was lost, cut short or changed is closed, filled from
    the copy with the same sequences, read again, compared, and opened; gateways, schedulers and
    ledger wait meanwhile and go on by themselves. A copy that was damaged is mended from the log.

    Acts as the broker's operator. With --nats-url the environment must have what a ledger's has
    (FOG_NATS_USER and FOG_NATS_PASSWORD_FILE of the operator, FOG_NATS_MONITOR_URL, DATABASE_URL).

    Exit code 1 if something is wrong and was not mended.
    """
    environment = dict(os.environ) if nats_url else _of_data_dir(data_dir, "--nats-url")
    if nats_url:
        environment["FOG_NATS_URL"] = nats_url
    environment |= {"FOG_FLEET": fleet, "FOG_GENERATION": str(generation)}
    flags = {"--dry-run": dry_run, "--replace": replace, "--accept-loss": accept_loss}
    with progress("restoring") as shown, _hint_where_nothing_runs(data_dir, nats_url):
        report = report_of(
            "ledger",
            ["restore", *(flag for flag, given in flags.items() if given)],
            environment,
            shown,
        )
    _print(report, output, dry_run=dry_run)
    wrong = any(report[name] for name in _WRONG)
    return EXIT_ERROR if wrong and (dry_run or report["lost_behind_the_copy"]) else EXIT_DONE


def rebuild(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url",
            envvar="DATABASE_URL",
            help="The ledger's; else that of the system in the data directory.",
        ),
    ] = None,
    output: Output = AsTable,
) -> None:
    """Build the ledger's tables again from its copy of the log, beside those that answer.

    Nobody is disturbed; at the end the rows that differ are exchanged in one transaction, and how
    many those were is shown. Ended before that it has changed nothing.
    """
    if database_url:
        environment = dict(os.environ) | {"DATABASE_URL": database_url}
    else:
        environment = _of_data_dir(data_dir, "--database-url")
    with progress("rebuilding") as shown, _hint_where_nothing_runs(data_dir, database_url):
        report = report_of("ledger", ["rebuild"], environment, shown)
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(report, output)
        return
    screen = console()
    screen.print(f"{'tables are as of:':<27}{report['position']}", highlight=False)
    for table, rows in report["rows_that_differed"].items():
        screen.print(f"{table + ':':<27}{rows} rows differed", highlight=False)


def keys(  # noqa: PLR0917  one parameter for each flag
    add: Annotated[
        bool, typer.Option("--add", help="Make a new key, which signs beside the others.")
    ] = False,
    retire: Annotated[
        bool,
        typer.Option("--retire", help="Let the newest key alone sign; the others' notes count on."),
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            envvar="FOG_CHECKPOINT_KEY_FILE",
            help="The ledger's; else that of the system in the data directory.",
        ),
    ] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    fleet: FleetName = "default",
    output: Output = AsTable,
) -> None:
    """Show or change the keys that sign checkpoints of the log; shown are their public lines.

    To exchange a key: --add, start the ledger again, let all who audit fetch the new public key
    (`fog audit checkpoint --keys`); later --retire, and start the ledger again. What was signed
    before can be checked for ever. A ledger reads its keys when it starts.
    """
    if add and retire:
        raise UsageFailure("--add and --retire are two steps: the new key must be known before")
    environment = dict(os.environ) if key_file else _of_data_dir(data_dir, "--key-file")
    if key_file:
        environment["FOG_CHECKPOINT_KEY_FILE"] = str(key_file)
        # The ledger's settings have both or none; the folder is left alone.
        environment.setdefault("FOG_CHECKPOINT_DIR", str(key_file.absolute().parent))
    environment["FOG_FLEET"] = fleet
    change = "add" if add else "retire" if retire else "show"
    report = report_of("ledger", ["keys", change], environment)
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(report, output)
        return
    screen = console()
    for state, lines in report.items():
        for line in lines:
            screen.print(f"{state + ':':<10}{line}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _hint_where_nothing_runs(data_dir: Path, elsewhere: str | None) -> Generator[None]:
    """Say with a failure that both stores have to run, where no supervisor runs them."""
    from fogbank.local.data_dir import DataDir

    try:
        yield
    except CommandError as error:
        if not (elsewhere or error.hint or DataDir(data_dir.absolute()).in_use):
            error.hint = (
                f"broker and database have to run: `fog up --data-dir {data_dir} --timeout 3600` "
                "runs them, and waits so long where services refuse the log"
            )
        raise


def _of_data_dir(data_dir: Path, otherwise: str) -> dict[str, str]:
    """Return the environment of the ledger there, as the operator of the broker.

    `otherwise` is the flag that could have been given instead.
    """
    from fogbank.local.data_dir import DataDir
    from fogbank.local.maintenance import maintenance_environment

    environment = maintenance_environment(DataDir(data_dir.absolute()), _OPERATOR)
    if environment is None:
        raise CommandError(
            f"no system was started in {data_dir}",
            hint=f"name its data directory with --data-dir, or give {otherwise}",
        )
    return environment


def _print(report: dict[str, Any], output: OutputFormat, *, dry_run: bool) -> None:
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(report, output)
        return
    if output is OutputFormat.NAME:
        print(report["root"])
        return
    screen = console()
    screen.print(f"{'the copy ends at:':<27}{report['copy_ends_at']}", highlight=False)
    screen.print(f"{'the log ended at:':<27}{report['log_ended_at']}", highlight=False)
    for name, text in _WRONG.items():
        if report[name]:
            screen.print(f"{text + ':':<27}{report[name]}", markup=False, highlight=False)
    for problem in report["checkpoints_not_believed"]:
        screen.print(f"{'left out:':<27}{problem}", markup=False, highlight=False)
    for name in ("commits_refilled", "commits_only_the_broker_had", "copies_mended"):
        if report[name]:
            screen.print(f"{name.replace('_', ' ') + ':':<27}{report[name]}", highlight=False)
    ends = "the log would end at:" if dry_run else "the log ends at:"
    screen.print(f"{ends:<27}{report['log_ends_at']}", highlight=False)
    screen.print(f"{'root over it:':<27}{report['root']}", highlight=False)
    screen.print(f"{'done:':<27}{report['done']}", style="green")
