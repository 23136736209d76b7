"""What commands share that read a whole log from the broker: options, progress, errors."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from fogbank.cli.failures import CommandError, UsageFailure
from fogbank.cli.output import console

# The broker's user for whoever checks.
_USER = "checker"

DEFAULT_DATA_DIR = Path(".fogbank")

NatsUrl = Annotated[
    str | None,
    typer.Option(
        "--nats-url",
        envvar="FOG_NATS_URL",
        help="The broker's address; else that of the system in the data directory.",
    ),
]
DataDirOption = Annotated[
    Path, typer.Option("--data-dir", envvar="FOG_DATA_DIR", help="Of the running `fog up`.")
]
FleetName = Annotated[str, typer.Option("--fleet", help="Whose log.")]
Generation = Annotated[int, typer.Option("--generation", min=1, help="Which of its logs.")]


def quieten() -> None:
    """Let the log's reader speak of errors only, and never on standard output."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def broker(nats_url: str | None, data_dir: Path) -> tuple[Any, str]:
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


@contextmanager
def progress(title: str) -> Generator[Callable[[int, int], None]]:
    """Show how far the reading is, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn(title),
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


@contextmanager
def log_errors() -> Generator[None]:
    """Turn what can go wrong with reading a log into failures of the command."""
    from fogbank.codec import CodecError
    from fogbank.log.port import LogBrokenError, LogPermissionError, LogUnavailableError

    try:
        yield
    except LogUnavailableError as error:
        raise CommandError(
            f"cannot read the log: {error}", hint="is the system running, and is it this fleet?"
        ) from error
    except LogPermissionError as error:
        raise CommandError(f"cannot read the log: {error}") from error
    except LogBrokenError as error:
        raise CommandError(f"the log is broken: {error}") from error
    except CodecError as error:
        raise CommandError(f"cannot read the log: {error}") from error
    except ValueError as error:  # names that cannot be those of a fleet
        raise UsageFailure(str(error)) from error
