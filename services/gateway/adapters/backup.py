"""What only the gateway's own tables hold, in one encrypted file, and back.

The file is a line that says what it is, a random id, then chunks, each sealed by a key that derives
from the sealing key and bound to the file, its number and whether it is the last: none can be
changed, left out or taken from another file. Who restores needs the sealing key in any case, since
environments and invite codes are sealed by it too.

Sessions are not in it: a refresh token that was used since would work a second time.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Table, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fogbank.runtime.operator_error import OperatorError
from services.gateway.adapters.database import (
    MIGRATIONS,
    api_tokens,
    denied_ids,
    invite_codes,
    invite_uses,
    sealed_environments,
    service_accounts,
    transaction,
    users,
)
from services.gateway.adapters.invites import MADE
from services.gateway.adapters.sealing import BrokenSealError, Seal
from services.gateway.app.principal import Role

# In an order in which each may refer to those before it.
TABLES = (
    *(users, sealed_environments, invite_codes, invite_uses),
    *(service_accounts, api_tokens, denied_ids),
)
_MAGIC = b"fogbank backup 1\n"
_ID_BYTES = 16
_LENGTH_BYTES = 4
_LARGEST_CHUNK = 256 * 1024 * 1024
_ROWS_A_CHUNK = 500
_LAST = b"last"


@dataclass(slots=True)
class Contents:
    """How many rows of each table a backup has."""

    rows: dict[str, int] = field(default_factory=lambda: {table.name: 0 for table in TABLES})


async def write_backup(engine: AsyncEngine, sealing_key: str, path: Path) -> Contents:
    """Write a backup as of one moment, readable by its owner alone; it is whole or isn't there.

    Raises:
        OperatorError: the file is there already, or can't be written.
        UnavailableError: the database is out of reach.
    """
    # Alone in its process: nobody waits for the disk meanwhile.
    if path.exists():  # noqa: ASYNC240
        raise OperatorError(f"{path} is there already: give the backup another name")
    part = path.with_name(f"{path.name}.part")
    contents = Contents()
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            sealed = _Sealing(file, sealing_key)
            sealed.add({"revision": MIGRATIONS.newest})
            async for table, rows in _all_rows(engine):
                sealed.add({"table": table.name, "rows": rows})
                contents.rows[table.name] += len(rows)
            sealed.finish()
            file.flush()
            os.fsync(descriptor)
        part.rename(path)
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return contents


async def restore_backup(engine: AsyncEngine, sealing_key: str, path: Path) -> Contents:
    """Put a backup into tables that are empty, all of it or nothing.

    What gateways make by themselves may be there and gives way: the administrator of a first start,
    and invite codes of organizations that had none.

    Raises:
        OperatorError: the file can't be read or is no whole backup under this sealing key, or
            the tables hold what the backup would have to replace.
        UnavailableError: the database is out of reach.
    """
    contents = Contents()
    rows = _decoded(path, sealing_key)
    async with transaction(engine) as connection:
        for table in TABLES:
            await connection.execute(text(f'LOCK TABLE "{table.schema}"."{table.name}"'))
        await _make_room(connection, {each["name_key"] for each in rows[users.name]})
        for table in TABLES:
            found = rows[table.name]
            for start in range(0, len(found), _ROWS_A_CHUNK):
                await connection.execute(insert(table), found[start : start + _ROWS_A_CHUNK])
            contents.rows[table.name] = len(found)
    return contents


async def _make_room(connection: AsyncConnection, names: set[str]) -> None:
    """Check that nothing is there but what gateways made by themselves, and take that away.

    A code that somebody joined by stays, and is found.
    """
    found = {}
    used = select(invite_uses.c.code_name)
    unused = invite_codes.c.code_name.not_in(used)
    await connection.execute(invite_codes.delete().where(invite_codes.c.request == MADE, unused))
    for table in TABLES:
        count = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        if count and table is not denied_ids:
            found[table.name] = count
    only = (await connection.execute(select(users.c.role, users.c.name_key).limit(2))).all()
    if found == {users.name: 1} and only[0].role == Role.ADMIN and only[0].name_key in names:
        await connection.execute(users.delete())
    elif found:
        there = ", ".join(f"{count} in {name}" for name, count in found.items())
        raise OperatorError(
            f"a backup goes into empty tables only, and there are rows: {there}. If they may go: "
            "stop the gateways, DROP SCHEMA gateway CASCADE, and restore again"
        )
    await connection.execute(denied_ids.delete())


async def _all_rows(engine: AsyncEngine) -> AsyncIterator[tuple[Table, list[dict[str, Any]]]]:
    """Yield all rows of all tables in parts, all as of one moment."""
    async with transaction(engine) as connection:
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        for table in TABLES:
            result = await connection.stream(select(table))
            async for part in result.mappings().partitions(_ROWS_A_CHUNK):
                yield table, [{name: _plain(each[name]) for name in each} for each in part]


def _decoded(path: Path, sealing_key: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a backup by table, as the columns take them."""
    by_name = {table.name: table for table in TABLES}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in by_name}
    try:
        with path.open("rb") as file:
            head, *parts = _opened(file, path, sealing_key)
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror or error}") from error
    for part in parts:
        table = by_name.get(part["table"])
        if table is None or any(set(row) - set(table.columns.keys()) for row in part["rows"]):
            raise OperatorError(
                f"{path} is of a newer release (schema {head['revision']}, here "
                f"{MIGRATIONS.newest}): restore it by that one"
            )
        rows[table.name] += [_of_columns(table, row) for row in part["rows"]]
    return rows


def _opened(file: BinaryIO, path: Path, sealing_key: str) -> Iterator[dict[str, Any]]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise OperatorError(f"{path} is no backup of a gateway's tables")
    seal, file_id, number = Seal(sealing_key, "backup"), file.read(_ID_BYTES), 0
    while True:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "big")
        if not 0 < length <= _LARGEST_CHUNK:
            raise _damaged(path)
        try:
            part = seal.open(file.read(length), _bound_to(file_id, number))
        except BrokenSealError as error:
            raise _damaged(path) from error
        if part == _LAST:
            break
        yield json.loads(part)
        number += 1
    if file.read(1) or not number:
        raise _damaged(path)


def _damaged(path: Path) -> OperatorError:
    return OperatorError(
        f"{path} does not open: it is damaged or cut short, or FOG_SEALING_KEY is not the one that "
        "it was made with"
    )


class _Sealing:
    """Writes the parts of one backup."""

    def __init__(self, file: BinaryIO, sealing_key: str) -> None:
        self._file = file
        self._seal = Seal(sealing_key, "backup")
        self._id = os.urandom(_ID_BYTES)
        self._number = 0
        file.write(_MAGIC + self._id)

    def add(self, part: dict[str, Any]) -> None:
        """Write one part."""
        self._write(json.dumps(part, separators=(",", ":")).encode())

    def finish(self) -> None:
        """Write that this was all."""
        self._write(_LAST)

    def _write(self, plain: bytes) -> None:
        sealed = self._seal.close(plain, _bound_to(self._id, self._number))
        self._file.write(len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed)
        self._number += 1


def _bound_to(file_id: bytes, number: int) -> bytes:
    return f"backup {file_id.hex()} {number}".encode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _of_columns(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    return {name: _of_column(table, name, value) for name, value in row.items()}


def _of_column(table: Table, name: str, value: Any) -> Any:
    if value is None:
        return None
    kind = table.columns[name].type.python_type
    if kind is datetime:
        return datetime.fromisoformat(value)
    return base64.b64decode(value) if kind is bytes else value
