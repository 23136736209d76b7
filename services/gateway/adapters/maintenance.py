"""Work on the gateway's own tables that is done once and by request, in a process of its own.

`python -m services.gateway.main backup FILE` and `restore FILE` need the database and the sealing
key. What they say goes to standard output as one JSON object: `report`, or `error`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fogbank.domain.errors import FogError
from fogbank.runtime import logging
from fogbank.runtime.operator_error import OperatorError
from fogbank.runtime.tls import client_tls
from services.gateway.adapters.backup import restore_backup, write_backup
from services.gateway.adapters.database import make_engine, migrate
from services.gateway.settings import AccountsSettings


def main(settings: AccountsSettings, arguments: Sequence[str]) -> int:
    """Do what the arguments say and return the exit code."""
    logging.configure("backup", settings.instance, "ERROR", "json", stream=sys.stderr)
    wanted = _parser().parse_args(arguments)
    try:
        rows = asyncio.run(_done(settings, wanted))
    except FogError as error:
        _say(error=error.message)
    except (OperatorError, OSError) as error:
        _say(error=str(error))
    else:
        _say(report={"file": str(wanted.file), "rows": rows})
        return 0
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.gateway.main")
    work = parser.add_subparsers(dest="work", required=True)
    for name, what in (("backup", "write the own tables to"), ("restore", "take them from")):
        work.add_parser(name, help=f"{what} a file").add_argument("file", type=Path)
    return parser


async def _done(settings: AccountsSettings, wanted: argparse.Namespace) -> dict[str, int]:
    engine = make_engine(settings.database_url.reveal(), tls=client_tls(settings.database_tls_ca))
    do = write_backup if wanted.work == "backup" else restore_backup
    try:
        await migrate(engine)
        return (await do(engine, settings.sealing_key.reveal(), wanted.file)).rows
    finally:
        await engine.dispose()


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
