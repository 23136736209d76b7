"""`fog audit`: whether the log keeps the rules, and whether its decisions follow from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli import (
    compare_command,
    export_command,
    record_command,
    restore_command,
    state_command,
    why_command,
)
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
app.command("log")(record_command.log)
app.command("why")(why_command.why)
app.command("export")(export_command.export)
app.command("compare")(compare_command.compare)
app.command("restore")(restore_command.restore)
app.command("rebuild")(restore_command.rebuild)
app.command("keys")(restore_command.keys)


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
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="Check this proof, made by `fog audit prove`, without a server."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="With --file: a verifier key, or a file of them."),
    ] = None,
    first: Annotated[
        int, typer.Option("--from", min=0, help="From this log sequence; 0 for the start.")
    ] = 0,
    last: Annotated[
        int, typer.Option("--to", min=0, help="To this log sequence; 0 for the end.")
    ] = 0,
    output: Output = AsTable,
) -> int:
    """Say whether the log was changed; with --decisions whether its decisions follow from it.

    The ledger compares the log with its copy, with the tree over its commits and with the
    checkpoints that it signed, and names the first sequence that is wrong.

    Decisions are derived again by the ledger with its copy of the log; with a broker's address or a
    data directory that is done here, with the log itself. Rounds of another engine are counted as
    unverifiable: run the release that made them.

    Exit code 1 if anything is wrong.
    """
    from fogbank.cli.decision_audit import (
        print_verification,
        verified_by_the_ledger,
        verified_here,
    )

    if file is not None or key is not None:
        return _verify_file(file, key, output)
    if not decisions:
        return _verify_log(first, last, output)
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


def _verify_log(first: int, last: int, output: OutputFormat) -> int:
    from fogbank.cli.log_evidence import print_verified, verified_log

    with progress("comparing") as shown:
        part = verified_log(first, last, shown)
    print_verified(part, output)
    return EXIT_ERROR if part.problem else EXIT_DONE


def _verify_file(file: Path | None, key: str | None, output: OutputFormat) -> int:
    from fogbank.cli.log_evidence import check_proof, read_key, read_proof

    if file is None or key is None:
        raise UsageFailure(
            "--file and --key go together: a proof, and the public key of whom you trust",
        )
    proved = check_proof(read_proof(file), read_key(key))
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(proved, output)
    elif output is OutputFormat.NAME:
        print(proved["sequence"])
    else:
        screen = console()
        for name, value in proved.items():
            screen.print(f"{name.replace('_', ' ') + ':':<22}{as_text(value)}", markup=False)
        screen.print(f"{'verdict:':<22}it is in the log", style="green")
    return EXIT_DONE


@app.command("checkpoint")
def checkpoint(
    keys: Annotated[
        bool, typer.Option("--keys", help="Print the public keys to check it by instead.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Sign the log as it is now; for administrators.")
    ] = False,
) -> None:
    """Print the checkpoint of the log that was signed last, for whoever wants to keep that.

    It is a signed note as https://c2sp.org/tlog-checkpoint describes it.
    """
    from fogbank.cli.log_evidence import signed_log

    note, verifier_keys = signed_log(fresh=fresh)
    print("\n".join(verifier_keys) if keys else note.rstrip())


@app.command("scrub")
def scrub(output: Output = AsTable) -> int:
    """Show what the ledger found when it last compared all of the log and its copy, by itself.

    Exit code 1 if it found anything. `fog audit verify` compares now.
    """
    from fogbank.cli.log_evidence import last_scrub, print_scrub

    found = last_scrub()
    print_scrub(found, output)
    return EXIT_ERROR if found.findings else EXIT_DONE


@app.command("prove")
def prove(
    sequence: Annotated[int, typer.Argument(min=1, help="The commit's log sequence.")],
) -> None:
    """Print the proof that a commit is in the log, as JSON; `verify --file` checks it anywhere."""
    from fogbank.cli.log_evidence import proof_of

    print_data(proof_of(sequence), OutputFormat.JSON)


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
