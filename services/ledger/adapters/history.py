"""Changes of status up to a past commit, and when commits were appended, from PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusChange
from services.ledger.adapters.database import outages_named
from services.ledger.core.log_times import STRIDE

_CHANGES = text(
    "SELECT h.* FROM unnest(CAST(:ids AS uuid[])) AS wanted (id) CROSS JOIN LATERAL ("
    "SELECT deployment_id::text AS id, exact_old_status, exact_new_status, changed_at, reason, "
    "sequence FROM public.deployment_status_history "
    "WHERE deployment_id = wanted.id AND sequence <= :upto "
    "ORDER BY sequence DESC LIMIT :most) AS h"
)
_APPENDED = text(
    "SELECT appended_at FROM public.commits WHERE sequence BETWEEN :first AND :last "
    "ORDER BY sequence"
)
_LATEST_APPENDED = text(
    "SELECT wanted.sequence, max(c.appended_at) AS latest "
    "FROM unnest(CAST(:sequences AS bigint[])) AS wanted (sequence) "
    "LEFT JOIN public.commits AS c ON c.sequence <= wanted.sequence "
    "AND c.sequence > wanted.sequence / :stride * :stride GROUP BY wanted.sequence"
)


class PostgresHistory:
    """A `History`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def changes(
        self, deployment_ids: Collection[str], upto: int, most: int
    ) -> Mapping[str, tuple[StatusChange, ...]]:
        found: dict[str, list[StatusChange]] = {id_: [] for id_ in deployment_ids}
        values = {"ids": list(deployment_ids), "upto": upto, "most": most}
        async with outages_named(), self._engine.connect() as connection:
            for row in await connection.execute(_CHANGES, values):
                found[row.id].append(
                    StatusChange(
                        row.id,
                        DeploymentStatus(row.exact_old_status) if row.exact_old_status else None,
                        DeploymentStatus(row.exact_new_status),
                        row.changed_at,
                        row.reason,
                        row.sequence,
                    )
                )
        return {
            id_: tuple(sorted(changes, key=lambda change: -change.sequence))
            for id_, changes in found.items()
        }

    async def appended_at_us(self, first: int, last: int) -> Sequence[int]:
        async with outages_named(), self._engine.connect() as connection:
            rows = await connection.execute(_APPENDED, {"first": first, "last": last})
            return [row.appended_at for row in rows]

    async def latest_appended_us(self, sequences: Collection[int]) -> Mapping[int, int]:
        values = {"sequences": list(sequences), "stride": STRIDE}
        async with outages_named(), self._engine.connect() as connection:
            rows = await connection.execute(_LATEST_APPENDED, values)
            return {row.sequence: row.latest or 0 for row in rows}
