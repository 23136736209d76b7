"""Past deployments, clusters and nodes, found by what the tables keep of the past.

Who existed, and how it was called, is in a deployment's row unless it changed since: then the table
of former ones has it. The status is in the history. Those who were gone already are left to an
index, so that a list costs what there was, and not all that there ever was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import SmallInteger

from fogbank.domain.cluster_status import ClusterUse, LimitedUse
from fogbank.domain.ids import canonical_uuid
from fogbank.domain.position import pack
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.tenancy import ClusterFact, Quota, Use
from fogbank.domain.views import Page
from services.ledger.adapters.database import outages_named
from services.ledger.adapters.tables import DEPLOYMENTS
from services.ledger.app.past_reads import PastMoment
from services.ledger.app.ports import DeploymentFilter, DeploymentSort
from services.ledger.core.alone import TakenRoom
from services.ledger.core.making import LAST_INSTANT_US, bounded, clean

_GONE = int(DeploymentStatus.DELETED)
_INSTANT = DEPLOYMENTS.c.created_at.type

_ROW = "d.id, d.name, d.user_id, d.cluster_id, d.created_at"
_PRESENT = (
    "FROM public.deployments AS d WHERE d.created_at <= :at AND {lives} AND NOT EXISTS ("
    "SELECT FROM public.former_deployments AS f "
    "WHERE f.deployment_id = d.id AND f.until_sequence > :upto)"
)
_FORMER = (
    "SELECT f.* FROM (SELECT DISTINCT ON (deployment_id) "
    "deployment_id AS id, name, user_id, cluster_id, created_at "
    "FROM public.former_deployments WHERE until_sequence > :upto "
    "ORDER BY deployment_id, until_sequence) AS f WHERE f.created_at <= :at"
)
# Its last version is the command that deleted it.
_KNOWN = " UNION ALL ".join(
    [
        f"SELECT {_ROW} {_PRESENT.format(lives='d.deleted_at IS NULL')}",
        f"SELECT {_ROW} "
        + _PRESENT.format(lives="d.deleted_at IS NOT NULL AND d.version >= :before"),
        _FORMER,
    ]
)
_STANDING = (
    'SELECT known.*, h.exact_new_status AS exact, h.new_status COLLATE "C" AS status '  # noqa: S608 (our own names)
    f"FROM ({_KNOWN}) AS known CROSS JOIN LATERAL ("
    "SELECT exact_new_status, new_status FROM public.deployment_status_history AS h "
    "WHERE h.deployment_id = known.id AND h.sequence <= :upto "
    "ORDER BY h.sequence DESC LIMIT 1) AS h"
)
# Who was gone already, which is nearly all there ever was: counted and sorted by indexes alone, so
# that those whose id was created anew since, which are few, are counted apart.
_GONE_ROW = f"SELECT {_ROW}, {_GONE}::smallint AS exact, 'deleted' COLLATE \"C\" AS status"
_LONG_GONE = "d.deleted_at IS NOT NULL AND d.version < :before"
_SHOWN_GONE = f"{_GONE_ROW} {_PRESENT.format(lives=_LONG_GONE)}"
_GONE_OR_ANEW = (
    f"{_GONE_ROW} FROM public.deployments AS d WHERE d.created_at <= :at AND {_LONG_GONE}"
)
_ANEW = _SHOWN_GONE.replace("NOT EXISTS", "EXISTS")
_SORTS = {
    DeploymentSort.CREATED_AT: "created_at",
    DeploymentSort.NAME: "name",
    DeploymentSort.STATUS: "status",
}

_CLUSTER = text(
    "SELECT h.* FROM public.cluster_history AS h WHERE h.cluster_id = :cluster_id "
    "AND h.sequence <= :upto ORDER BY h.sequence DESC LIMIT 1"
)
_SIBLINGS = text(
    "SELECT h.used FROM public.cluster_history AS made CROSS JOIN LATERAL ("
    "SELECT used FROM public.cluster_history AS each WHERE each.cluster_id = made.cluster_id "
    "AND each.sequence <= :upto ORDER BY each.sequence DESC LIMIT 1) AS h "
    "WHERE made.organization_id = :organization_id AND made.sequence <= :upto "
    "AND made.sequence = made.created_position >> 16"
)
_NODES = text(
    "WITH once AS (SELECT DISTINCT ON (node_id) * FROM public.node_name_history "
    "WHERE sequence <= :upto ORDER BY node_id, sequence DESC), "
    "fleet AS (SELECT * FROM once WHERE NOT removed) SELECT "
    "(SELECT count(*) FROM fleet) AS total, ARRAY(SELECT node_id::text FROM fleet "
    "ORDER BY name, node_id LIMIT :limit OFFSET :offset) AS ids"
)
_CREATED_AFTER = text(
    "SELECT coalesce(min(h.sequence), 0) FROM public.deployment_status_history AS h "
    "JOIN public.deployments AS d ON d.id = h.deployment_id "
    "WHERE h.deployment_id = CAST(:id AS uuid) AND h.sequence > :upto AND h.exact_old_status = 0 "
    "AND (:owner = '' OR d.user_id = :owner)"
)
_NODE_AROUND = text(
    "SELECT coalesce(max(sequence) FILTER (WHERE removed AND sequence <= :upto), 0), "
    "coalesce(min(sequence) FILTER (WHERE NOT removed AND sequence > :upto), 0) "
    "FROM public.node_name_history WHERE node_id = CAST(:id AS uuid) OR name = :name"
)
_ROOMS = text(
    "SELECT wanted.id::text, h.booked, h.held, h.replicas "
    "FROM unnest(CAST(:ids AS uuid[])) AS wanted (id) CROSS JOIN LATERAL ("
    "SELECT * FROM public.node_use_history AS h WHERE h.node_id = wanted.id "
    "AND h.sequence <= :upto ORDER BY h.sequence DESC LIMIT 1) AS h"
)


class PostgresPast:
    """A `PastReads`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def deployments(self, wanted: DeploymentFilter, then: PastMoment) -> Page[str]:
        way = "ASC" if wanted.ascending else "DESC"
        standing, conditions, values = _standing(wanted, then)
        sort = _SORTS[wanted.sort_by]
        counted = ["(SELECT count(*) FROM found)"]
        # No more of each than could be on the page.
        listed = f"SELECT id, {sort} FROM {{}} ORDER BY {sort} {way}, id {way} LIMIT :reach"  # noqa: S608 (our own names)
        parts = [listed.format("found")]
        if DeploymentStatus.DELETED in wanted.statuses:
            all_, anew, shown = (
                f"({source}) AS gone WHERE {conditions}"
                for source in (_GONE_OR_ANEW, _ANEW, _SHOWN_GONE)
            )
            counted += [f"(SELECT count(*) FROM {all_})", f"-(SELECT count(*) FROM {anew})"]  # noqa: S608 (our own names)
            parts.append(listed.format(shown))
        found = " UNION ALL ".join(f"({part})" for part in parts)
        query = _query(
            f"{standing} SELECT {' + '.join(counted)} AS total, ARRAY("  # noqa: S608 (our own names)
            f"SELECT page.id::text FROM ({found}) AS page "
            f"ORDER BY page.{sort} {way}, page.id {way} LIMIT :limit OFFSET :offset) AS ids",
            values,
        )
        paged = {"limit": wanted.limit, "offset": wanted.offset, "reach": wanted.reach}
        async with outages_named(), self._engine.connect() as connection:
            row = (await connection.execute(query, values | paged)).one()
            return Page(tuple(row.ids), row.total)

    async def statuses(self, cluster_id: int, then: PastMoment) -> Mapping[DeploymentStatus, int]:
        standing, _, values = _standing(DeploymentFilter(cluster_id=cluster_id), then)
        query = _query(f"{standing} SELECT exact, count(*) FROM found GROUP BY exact", values)  # noqa: S608 (our own names)
        async with outages_named(), self._engine.connect() as connection:
            rows = await connection.execute(query, values)
            return {DeploymentStatus(exact): count for exact, count in rows}

    async def created_after(self, deployment_id: str, owner_id: str, upto: int) -> int:
        if not (id_ := canonical_uuid(deployment_id)):
            return 0
        values = {"id": id_, "owner": clean(owner_id), "upto": upto}
        async with outages_named(), self._engine.connect() as connection:
            return int((await connection.execute(_CREATED_AFTER, values)).scalar_one())

    async def node_around(self, node: str, upto: int) -> tuple[int, int]:
        values = {"id": canonical_uuid(node) or None, "name": clean(node), "upto": upto}
        async with outages_named(), self._engine.connect() as connection:
            removed, joined = (await connection.execute(_NODE_AROUND, values)).one()
            return removed, joined

    async def cluster_use(self, cluster_id: int, upto: int) -> ClusterUse | None:
        async with outages_named(), self._engine.connect() as connection:
            values = {"cluster_id": cluster_id, "upto": upto}
            row = (await connection.execute(_CLUSTER, values)).one_or_none()
            if row is None:
                return None
            values = {"organization_id": row.organization_id, "upto": upto}
            parts = (await connection.execute(_SIBLINGS, values)).scalars().all()
        quota = Quota(*row.quota)
        fact = ClusterFact(
            row.cluster_id, row.name, row.organization_id, quota, row.created_position
        )
        common = Use(*(sum(amounts) for amounts in zip(*parts, strict=True)))
        return ClusterUse(
            fact,
            LimitedUse(quota, Use(*row.used)),
            LimitedUse(Quota(*row.organization_quota), common),
        )

    async def nodes(self, limit: int, offset: int, upto: int) -> Page[str]:
        values = {"upto": upto, "limit": limit, "offset": offset}
        async with outages_named(), self._engine.connect() as connection:
            row = (await connection.execute(_NODES, values)).one()
            return Page(tuple(row.ids), row.total)

    async def rooms_taken(self, node_ids: Sequence[str], upto: int) -> Mapping[str, TakenRoom]:
        values = {"ids": list(node_ids), "upto": upto}
        async with outages_named(), self._engine.connect() as connection:
            rows = await connection.execute(_ROOMS, values)
            return {
                row.id: TakenRoom(_amounts(row.booked), _amounts(row.held), row.replicas)
                for row in rows
            }


def _standing(wanted: DeploymentFilter, then: PastMoment) -> tuple[str, str, dict[str, Any]]:
    """Return what names the deployments that are wanted `found`, but for those long gone.

    And on which conditions they are wanted, and the values that these take.
    """
    values: dict[str, Any] = {
        "at": bounded(then.log_time_us),
        "upto": then.sequence,
        "before": pack(then.sequence + 1, 0),
    }
    conditions = [f"exact <> {_GONE}"]
    if wanted.statuses:
        conditions = ["exact = ANY(:statuses)"]
        values["statuses"] = [int(status) for status in wanted.statuses]
    for name, condition, value in (
        ("owner", "user_id = :owner", clean(wanted.owner_id)),
        ("part", "strpos(name, :part) > 0", clean(wanted.name_contains)),
        ("cluster", "cluster_id = :cluster", wanted.cluster_id),
        ("before_at", "created_at <= :before_at", bounded(wanted.created_before_us)),
        ("after_at", "created_at >= :after_at", bounded(max(wanted.created_after_us, 0))),
    ):
        if value:
            conditions.append(condition)
            values[name] = value
    if wanted.created_after_us > LAST_INSTANT_US:
        conditions.append("false")
    joined = " AND ".join(conditions)
    found = f"SELECT * FROM ({_STANDING}) AS standing WHERE {joined}"  # noqa: S608 (our own names)
    return f"WITH found AS MATERIALIZED ({found})", joined, values


def _amounts(joined: str) -> tuple[int, ...]:
    return tuple(map(int, joined.split(",")))


def _query(statement: str, values: Mapping[str, Any]) -> TextClause:
    types: dict[str, BindParameter[Any]] = {
        "statuses": bindparam("statuses", type_=ARRAY(SmallInteger))
    }
    for name in ("at", "before_at", "after_at"):
        types[name] = bindparam(name, type_=_INSTANT)
    return text(statement).bindparams(*(types[name] for name in types if name in values))
