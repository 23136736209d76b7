"""`fog logs`: what the parts of a local system wrote."""

import time
from pathlib import Path
from typing import Annotated

import typer

from fogbank.cli.failures import CommandError

_POLL_S = 0.2


def logs(
    service: Annotated[
        str | None, typer.Argument(help="gateway, scheduler, ledger, nats, postgres, agent-NAME.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many to show.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Of `fog up`; default ./.fogbank.")
    ] = None,
) -> None:
    """Print the log of a service that `fog up` runs here; without a name, list them."""
    from fogbank.cli.session import local_data_dir
    from fogbank.local.data_dir import DataDir

    data = DataDir(data_dir.absolute()) if data_dir else local_data_dir()
    files = {path.stem: path for path in sorted(data.logs.glob("*.log"))}
    if not files:
        raise CommandError(
            f"there are no logs in {data.logs}", hint="say where `fog up` runs with --data-dir"
        )
    if service is None:
        print("\n".join(files))
        return
    path = files.get(service) or files.get(f"{service}-1")
    if path is None:
        raise CommandError(
            f"no service is named {service!r}; there are {', '.join(files)}",
            hint="logs of replicas can't be read yet: only the node that runs one has its output",
        )
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
