"""`fog backup` and `fog restore`: what the log doesn't have, in a file, and back."""

import os
from pathlib import Path
from typing import Annotated

import typer

from fogbank.cli.failures import CommandError
from fogbank.cli.log_reading import DEFAULT_DATA_DIR, DataDirOption
from fogbank.cli.output import AsTable, Output, OutputFormat, print_data

File = Annotated[Path, typer.Argument(help="The file.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="DATABASE_URL",
        help="The gateway's; else that of the system in the data directory.",
    ),
]


def backup(
    file: File,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    database_url: DatabaseUrl = None,
    output: Output = AsTable,
) -> None:
    """Write users, service accounts, invite codes and sealed environments to an encrypted file.

    That is what the gateways keep beside the log, without sessions. It opens by the sealing key
    alone: keep that elsewhere. With --database-url the environment must have FOG_SEALING_KEY_FILE.
    """
    _work("backup", file, data_dir, database_url, output)


def restore(
    file: File,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    database_url: DatabaseUrl = None,
    output: Output = AsTable,
) -> None:
    """Put what `fog backup` wrote into a database that lost it; all of it or nothing.

    The administrator whom a gateway makes at its first start gives way; anything else there is left
    alone and named. The log is mended by `fog audit restore`.
    """
    _work("restore", file, data_dir, database_url, output)


def _work(
    work: str, file: Path, data_dir: Path, database_url: str | None, output: OutputFormat
) -> None:
    from fogbank.cli.service_work import report_of

    if database_url:
        environment = dict(os.environ) | {"DATABASE_URL": database_url}
        environment.pop("FOG_DATABASE_URL", None)
    else:
        environment = _of_data_dir(data_dir)
    report = report_of("gateway", [work, str(file.absolute())], environment)
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(report, output)
    elif output is OutputFormat.NAME:
        print(report["file"])
    else:
        rows = ", ".join(f"{count} in {name}" for name, count in report["rows"].items())
        print(f"{'written to' if work == 'backup' else 'restored from'} {report['file']}: {rows}")


def _of_data_dir(data_dir: Path) -> dict[str, str]:
    from fogbank.local.data_dir import DataDir
    from fogbank.local.maintenance import accounts_environment

    environment = accounts_environment(DataDir(data_dir.absolute()))
    if environment is None:
        raise CommandError(
            f"no system was started in {data_dir}",
            hint="name its data directory with --data-dir, or a database with --database-url",
        )
    return environment
