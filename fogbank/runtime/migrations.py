"""Database schemas brought up to date at the start of a service.

Alembic is a quarter of what a service imports, so it is imported only where a migration is due:
mostly a restart finds everything as it was left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

# A migration's file begins with its revision, of so many digits.
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Migrations:
    """A service's migrations: alembic's folder, and the table that says which one is the last."""

    folder: Path
    schema: str
    version_table: str

    @property
    def newest(self) -> str:
        """The revision of the newest migration there is."""
        files = (self.folder / "versions").glob(f"{'[0-9]' * _DIGITS}_*.py")
        return max(file.name[:_DIGITS] for file in files)

    def apply(self, connection: Connection, upto: str = "") -> None:
        """Apply what is missing (up to a revision, if one is given) in the open transaction.

        Who calls holds a lock.
        """
        wanted = upto or self.newest
        if self._applied(connection) == wanted:
            return
        from alembic import command  # noqa: PLC0415 (for the reason above)
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, wanted)

    def _applied(self, connection: Connection) -> str | None:
        if not inspect(connection).has_table(self.version_table, self.schema):
            return None
        versions = table(self.version_table, column("version_num"), schema=self.schema)
        return connection.execute(select(versions.c.version_num)).scalar()
