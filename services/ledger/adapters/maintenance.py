"""Work on the two stores that is done once and by request, in a process of its own.

`python -m services.ledger.main restore` reads the ledger's settings, with the operator's user of
the broker; `rebuild` needs the database only, `keys` the file of the keys that sign checkpoints.
What it says goes to standard output, one JSON object a line: `step`, `done` and `total` while it
works, at the end `report`, or `error`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from ssl import SSLContext
from typing import Any

from fogbank.domain.errors import FogError
from fogbank.log.nats_connection import connect
from fogbank.log.opening import credentials_of
from fogbank.log.refill import LogStream
from fogbank.log.stream import StreamName, StreamSettings, require_sync_always
from fogbank.runtime import logging
from fogbank.runtime.operator_error import OperatorError
from fogbank.runtime.tls import client_tls
from services.ledger.adapters.beside import TablesBeside
from services.ledger.adapters.checkpoint_files import (
    CheckpointFolder,
    add_key,
    read_keys,
    retire_keys,
)
from services.ledger.adapters.database import make_engine
from services.ledger.adapters.log_copy import PostgresLogCopy
from services.ledger.adapters.restorable_copy import RestorableCopy
from services.ledger.app.evidence import Notes, judged
from services.ledger.app.findings import Findings
from services.ledger.app.rebuild import Rebuild, Rebuilt, Tell
from services.ledger.app.restore import Leave, Report, Restore
from services.ledger.settings import LedgerSettings

_CONNECTIONS = 2
# One that holds the lock, one that reads, one that writes.
_REBUILD_CONNECTIONS = 3
# Rows are exchanged in statements over whole tables.
_REBUILD_TIMEOUT_S = 3_600.0
_SHOWN = "show"
_CHANGES = {_SHOWN: read_keys, "add": add_key, "retire": retire_keys}


def main(settings: LedgerSettings, arguments: Sequence[str]) -> int:
    """Do what the arguments say and return the exit code."""
    logging.configure("restore", settings.instance, "ERROR", "json", stream=sys.stderr)
    wanted = _parser().parse_args(arguments)
    try:
        report = asyncio.run(until_told(_done(settings, wanted)))
    except FogError as error:
        _say(error=_with_notes(error.message, error))
    except OperatorError as error:
        _say(error=_with_notes(str(error), error))
    except asyncio.CancelledError as error:
        _say(error=_with_notes("Ended on request, before it was done", error))
    else:
        _say(report=report)
        return 0
    return 1


async def until_told(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Do work, which SIGINT and SIGTERM cancel; once, so that it can tidy up then."""
    task = asyncio.ensure_future(work)

    def cancel() -> None:
        if not task.cancelling():
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, cancel)
    return await task


def _with_notes(text: str, error: BaseException) -> str:
    return ". ".join([text, *getattr(error, "__notes__", ())])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.ledger.main")
    work = parser.add_subparsers(dest="work", required=True)
    work.add_parser("rebuild", help="build the tables again from the copy of the log")
    restore = work.add_parser("restore", help="mend the broker's log from the database's copy")
    restore.add_argument("--dry-run", action="store_true")
    restore.add_argument("--replace", action="store_true")
    restore.add_argument("--accept-loss", action="store_true")
    keys = work.add_parser("keys", help="show or change the keys that sign checkpoints")
    keys.add_argument("change", nargs="?", choices=sorted(_CHANGES), default=_SHOWN)
    return parser


async def _done(settings: LedgerSettings, wanted: argparse.Namespace) -> dict[str, Any]:
    if wanted.work == "rebuild":
        url, tls = settings.database_url.reveal(), client_tls(settings.database_tls_ca)
        rebuilt = await rebuild(url, tls, _tell)
        return {"position": rebuilt.position, "rows_that_differed": rebuilt.differed}
    if wanted.work == "keys":
        return _keys(settings, wanted.change)
    leave = Leave(wanted.dry_run, wanted.replace, wanted.accept_loss)
    notes = await notes_of(settings)
    return _as_data(await _restore(settings, notes, leave), notes)


def _keys(settings: LedgerSettings, change: str) -> dict[str, Any]:
    path = settings.checkpoint_key_file
    if path is None:
        raise OperatorError("nothing is signed here: set FOG_CHECKPOINT_KEY_FILE")
    if not path.exists():
        raise OperatorError(f"there is no {path}: the ledger makes it at its first start")
    keys = _CHANGES[change](path, _origin(settings))
    return {
        "signing": [signer.verifier.text for signer in keys.signers],
        "retired": [key.text for key in keys.retired],
    }


def _origin(settings: LedgerSettings) -> str:
    # Sequences go on through a fleet's generations, and so does the tree.
    return f"fogbank/{settings.fleet}"


async def rebuild(url: str, tls: SSLContext | None, tell: Tell) -> Rebuilt:
    """Build the tables of a database again; raises as `Rebuild.run`."""
    engine = make_engine(url, _REBUILD_CONNECTIONS, tls, command_timeout_s=_REBUILD_TIMEOUT_S)
    beside = TablesBeside(engine)
    try:
        return await Rebuild(PostgresLogCopy(engine), beside, tell).run()
    finally:
        await beside.close()
        await engine.dispose()


async def _restore(settings: LedgerSettings, notes: Notes, leave: Leave) -> Report:
    credentials = credentials_of(settings)
    url = settings.database_url.reveal()
    engine = make_engine(url, _CONNECTIONS, client_tls(settings.database_tls_ca))
    stream_settings = StreamSettings(settings.log_max_bytes, settings.log_replicas)
    name = StreamName(settings.fleet, settings.generation)
    # A log of its own, which nobody else knows.
    aside = StreamName(f"{settings.fleet}-aside", settings.generation)
    try:
        await require_sync_always(settings.nats_monitor_url, credentials.tls)
        async with connect(settings.nats_url, "restore", credentials) as connection:
            restore = Restore(
                LogStream(connection, name, stream_settings),
                LogStream(connection, aside, stream_settings),
                RestorableCopy(engine),
                notes.signed,
                _tell,
            )
            return await restore.run(leave)
    finally:
        await engine.dispose()


async def notes_of(settings: LedgerSettings) -> Notes:
    """Return what was signed of the log, where that is kept.

    Raises:
        OperatorError: there are checkpoints, and none of them can be believed.
    """
    folder, key_file = settings.checkpoint_dir, settings.checkpoint_key_file
    if folder is None or key_file is None or not key_file.exists():
        return Notes({}, {})
    trusted = read_keys(key_file, _origin(settings)).trusted
    notes = judged(await CheckpointFolder(folder).read(), trusted)
    if notes.bad and not notes.signed:
        raise OperatorError(notes.bad[max(notes.bad)])
    return notes


def _as_data(report: Report, notes: Notes) -> dict[str, Any]:
    found: Findings = report.findings
    return {
        "done": report.done,
        "copy_ends_at": found.position,
        "log_ended_at": found.stream_last,
        "log_ends_at": found.end,
        "root": found.root.hex(),
        "missing_in_log": str(found.missing),
        "changed_in_log": str(found.changed),
        "damaged_copies": str(found.damaged_copies),
        "lost_in_both": str(found.lost),
        "lost_behind_the_copy": str(found.lost_tail),
        "another_log": found.another,
        "problem": found.problem,
        "checkpoints_not_believed": [notes.bad[size] for size in sorted(notes.bad)],
        "commits_refilled": report.refilled,
        "commits_only_the_broker_had": max(0, found.end - found.position),
        "copies_mended": report.mended,
    }


def _tell(step: str, done: int, total: int) -> None:
    _say(step=step, done=done, total=total)


def _say(**what: Any) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()
