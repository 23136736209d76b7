"""`fog logs`: what replicas wrote, and what the parts of a local system did."""

import time
from pathlib import Path
from typing import Annotated

import typer

from fogbank.cli.failures import CommandError
from fogbank.cli.replica_commands import Slot, print_logs

_POLL_S = 0.2


def logs(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A deployment's name or id; or gateway, scheduler, ledger, nats, postgres, "
            "agent-NAME of a `fog up` here."
        ),
    ] = None,
    *,
    slot: Slot = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many to show.")] = 50,
    previous: Annotated[
        bool,
        typer.Option("--previous", "-p", help="Of the container before, which is gone."),
    ] = False,
    replica: Annotated[
        str, typer.Option("--replica", help="Of the replica of this id, ended or not.")
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Of `fog up`; default ./.fogbank.")
    ] = None,
) -> None:
    """Print what a replica wrote, fetched from its node, or the log of a service that runs here.

    Without a name, list the services. One that is named like a service is found by its id.
    """
    from fogbank.cli.session import local_data_dir
    from fogbank.local.data_dir import DataDir

    data = DataDir(data_dir.absolute()) if data_dir else local_data_dir()
    files = {path.stem: path for path in sorted(data.logs.glob("*.log"))}
    path = files.get(name or "") or files.get(f"{name}-1")
    of_replica = slot is not None or previous or bool(replica)
    if name is not None and (of_replica or (path is None and data_dir is None)):
        print_logs(name, lines, slot=slot, replica_id=replica, previous=previous, follow=follow)
        return
    if not files:
        raise CommandError(
            f"there are no logs in {data.logs}", hint="say where `fog up` runs with --data-dir"
        )
    if name is None:
        print("\n".join(files))
    elif path is None:
        raise CommandError(f"no service is named {name!r}; there are {', '.join(files)}")
    else:
        _print(path, lines, follow=follow)


def _print(path: Path, lines: int, *, follow: bool) -> None:
    with path.open("r", encoding="utf-8", errors="replace") as file:
        if lines:
            for line in file.readlines()[-lines:]:
                print(line, end="")
        else:
            file.seek(0, 2)
        while follow:
            line = file.readline()
            if line:
                print(line, end="", flush=True)
            else:
                time.sleep(_POLL_S)
