"""Events written to a file, row by row: as JSON lines, or as Parquet where pyarrow is installed."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from fogbank.cli.failures import CommandError, UsageFailure

if TYPE_CHECKING:
    import pyarrow as pa

_Row = dict[str, Any]
# A row group of Parquet, which is what stays in memory.
_ROWS_AT_ONCE = 10_000


class Rows(Protocol):
    """Takes rows as `fogbank.cli.record_command.events` yields them."""

    def write(self, row: _Row) -> None:
        """Write one."""

    def close(self) -> None:
        """Write what is left."""


@contextmanager
def written(path: Path) -> Generator[Rows]:
    """Write rows to a file in the form that its name ends in: `.jsonl` or `.parquet`.

    The file is there when all is written, and not at all if that fails.

    Raises:
        UsageFailure: another ending.
        CommandError: it can't be written, or pyarrow is missing.
    """
    forms: dict[str, Callable[[IO[bytes]], Rows]] = {".jsonl": _JsonLines, ".parquet": _Parquet}
    if path.suffix not in forms:
        raise UsageFailure(f"{path}: must end in .jsonl or .parquet, the forms there are")
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            rows = forms[path.suffix](file)
            try:
                yield rows
            finally:
                # A file of Parquet that is let go open complains for itself.
                rows.close()
        part.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


class _JsonLines:
    """One JSON object a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, row: _Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        pass


class _Parquet:
    """A table: instants as timestamps, causes as a list of structures, payloads as JSON text."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ModuleNotFoundError as error:
            raise CommandError(
                "Parquet needs pyarrow, which isn't installed",
                hint="pip install 'fogbank[parquet]', or export to a file that ends in .jsonl",
            ) from error
        self._table = pa.Table
        self._schema = _schema(pa)
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[_Row] = []

    def write(self, row: _Row) -> None:
        self._rows.append(
            row
            | {
                "appended_at": _instant(row["appended_at"]),
                "causes": [_cause(cause) for cause in row["causes"]],
                "payload": json.dumps(row["payload"], ensure_ascii=False),
            }
        )
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()


def _schema(arrow: Any) -> "pa.Schema":
    cause = arrow.struct(
        [
            ("sequence", arrow.int64()),
            ("index", arrow.int32()),
            ("event_id", arrow.string()),
            ("type", arrow.string()),
            ("aggregate", arrow.string()),
            ("actor", arrow.string()),
            ("appended_at", arrow.timestamp("us", tz="UTC")),
        ]
    )
    return arrow.schema(
        [
            ("sequence", arrow.int64()),
            ("index", arrow.int32()),
            ("appended_at", arrow.timestamp("us", tz="UTC")),
            ("type", arrow.string()),
            ("aggregate", arrow.string()),
            ("actor", arrow.string()),
            ("event_id", arrow.string()),
            ("void", arrow.bool_()),
            ("causation_id", arrow.string()),
            ("correlation_id", arrow.string()),
            ("causes", arrow.list_(cause)),
            ("payload", arrow.string()),
        ]
    )


def _cause(cause: _Row | None) -> _Row | None:
    return cause and cause | {"appended_at": _instant(cause.get("appended_at"))}


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
