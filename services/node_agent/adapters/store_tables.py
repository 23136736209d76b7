"""The tables that hold what an agent keeps, and how saved entries change them.

Every row has a checksum of what it says: SQLite itself notices broken pages, not a changed byte
within a row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from sqlite3 import Connection
from typing import Any
from zlib import crc32

from fogbank.domain.observations import ReplicaObservation
from services.node_agent.adapters.store_values import (
    decode_observation,
    decode_record,
    encode_observation,
    encode_record,
)
from services.node_agent.core.kept import (
    AssignmentKept,
    BootKept,
    Entry,
    Kept,
    ObservationKept,
    ReplicaDropped,
    ReportsAcknowledged,
    ReportSealed,
    ReportsRenumbered,
)

# Noted in the file; a release that changes the tables raises it, and reads what was before.
FORMAT = 2

# `observations` holds the outbox (those with a report's number) and what no report holds yet.
_TABLES = (
    """CREATE TABLE node (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, last_number INTEGER NOT NULL,
        checksum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE replicas (
        id TEXT PRIMARY KEY, record TEXT NOT NULL, checksum INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE reports (number INTEGER PRIMARY KEY, checksum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE observations (
        position INTEGER PRIMARY KEY AUTOINCREMENT, report INTEGER, seen TEXT NOT NULL,
        checksum INTEGER NOT NULL) STRICT""",
    "CREATE INDEX observations_of_report ON observations (report)",
    "INSERT INTO node VALUES (1, 0, 0, 0, checksum(0, 0, 0))",
)
# What format 2 added: which boot of the host the replicas were last seen in.
_TABLES_OF_2 = (
    """CREATE TABLE host (
        one INTEGER PRIMARY KEY CHECK (one = 1), boot_id TEXT NOT NULL,
        checksum INTEGER NOT NULL) STRICT""",
    "INSERT INTO host VALUES (1, '', checksum(''))",
)


def open_tables(connection: Connection) -> None:
    """Get a connection ready for reads and writes; make the tables that the file lacks."""
    connection.create_function("checksum", -1, _checksum, deterministic=True)
    written = format_of(connection)
    if written < FORMAT:
        connection.execute("BEGIN IMMEDIATE")
        for statement in (*(() if written else _TABLES), *_TABLES_OF_2):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")


def format_of(connection: Connection) -> int:
    """Return the format of the file's tables; 0 if it has none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def read(connection: Connection) -> Kept:
    """Return what was written.

    Raises:
        ValueError: a row is not what was written.
    """
    ((epoch, sequence, last_number),) = _rows(connection, "node", "epoch, sequence, last_number")
    records = [decode_record(json.loads(text)) for _, text in _replicas(connection)]
    kept = Kept(epoch, sequence, last_number, {each.replica_id: each for each in records})
    reports: dict[int, list[Any]] = {
        number: [] for (number,) in _rows(connection, "reports", "number")
    }
    for position, report, text in _rows(connection, "observations", "position, report, seen"):
        seen = decode_observation(json.loads(text))
        if report is None:
            kept.unreported.append(seen)
        elif report in reports:
            reports[report].append(seen)
        else:
            raise ValueError(f"observation {position} is of a report that is not there")
    kept.outbox = {number: tuple(report) for number, report in reports.items()}
    ((kept.boot_id,),) = _rows(connection, "host", "boot_id")
    return kept


def write(connection: Connection, entries: Sequence[Entry], kept: Kept) -> None:
    """Write entries within a transaction; `kept` is what they led to."""
    touched: dict[str, None] = {}
    for entry in entries:
        match entry:
            case AssignmentKept() | ReplicaDropped():
                touched[entry.replica_id] = None
            case ObservationKept(seen, reported):
                touched[seen.replica_id] = None
                if reported:
                    _append(connection, seen)
            case ReportSealed() | ReportsAcknowledged() | ReportsRenumbered():
                _change_outbox(connection, entry)
            case BootKept(boot_id):
                connection.execute(
                    "UPDATE host SET boot_id = ?1, checksum = checksum(?1)", (boot_id,)
                )
    for replica_id in touched:
        _write_record(connection, replica_id, kept)
    connection.execute(
        "UPDATE node SET epoch = ?1, sequence = ?2, last_number = ?3, "
        "checksum = checksum(?1, ?2, ?3)",
        (kept.epoch, kept.sequence, kept.last_number),
    )


def _append(connection: Connection, seen: ReplicaObservation) -> None:
    text = _text(encode_observation(seen))
    cursor = connection.execute("INSERT INTO observations (seen, checksum) VALUES (?, 0)", (text,))
    connection.execute(
        "UPDATE observations SET checksum = checksum(position, report, seen) WHERE position = ?",
        (cursor.lastrowid,),
    )


def _change_outbox(
    connection: Connection, entry: ReportSealed | ReportsAcknowledged | ReportsRenumbered
) -> None:
    match entry:
        case ReportSealed(number, count):
            connection.execute("INSERT INTO reports VALUES (?1, checksum(?1))", (number,))
            connection.execute(
                "UPDATE observations SET report = ?1, checksum = checksum(position, ?1, seen) "
                "WHERE position IN (SELECT position FROM observations WHERE report IS NULL "
                "ORDER BY position LIMIT ?2)",
                (number, count),
            )
        case ReportsAcknowledged(through):
            connection.execute("DELETE FROM observations WHERE report <= ?", (through,))
            connection.execute("DELETE FROM reports WHERE number <= ?", (through,))
        case ReportsRenumbered():
            # What reports held was seen before what no report holds: positions keep the order.
            connection.execute(
                "UPDATE observations SET report = NULL, checksum = checksum(position, NULL, seen) "
                "WHERE report IS NOT NULL"
            )
            connection.execute("DELETE FROM reports")


def _write_record(connection: Connection, replica_id: str, kept: Kept) -> None:
    record = kept.replicas.get(replica_id)
    if record is None:
        connection.execute("DELETE FROM replicas WHERE id = ?", (replica_id,))
        return
    connection.execute(
        "INSERT INTO replicas VALUES (?1, ?2, checksum(?1, ?2)) "
        "ON CONFLICT (id) DO UPDATE SET record = excluded.record, checksum = excluded.checksum",
        (replica_id, _text(encode_record(record))),
    )


def _replicas(connection: Connection) -> list[Any]:
    return _rows(connection, "replicas", "id, record")


def _rows(connection: Connection, table: str, columns: str) -> list[Any]:
    """Return a table's rows in the order of their keys.

    Raises:
        ValueError: a row's checksum differs.
    """
    found = connection.execute(f"SELECT checksum, {columns} FROM {table} ORDER BY 2")  # noqa: S608
    rows = []
    for number, (checksum, *values) in enumerate(found, start=1):
        if checksum != _checksum(*values):
            raise ValueError(f"row {number} of table {table} is not what was written")
        rows.append(tuple(values))
    return rows


def _checksum(*values: str | int | None) -> int:
    return crc32(_text(values).encode())


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
