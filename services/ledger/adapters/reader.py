"""The tables, to those who ask.

One deployment or node is one statement. Lists are several statements in one transaction that reads
one snapshot. Either way the position is read with the rows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Select,
    and_,
    func,
    lateral,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncResult

from fogbank.domain.states import DeploymentStatus, NodeStatus
from fogbank.domain.status import StatusChange
from fogbank.domain.views import (
    RECENT_CHANGES,
    AsOf,
    DeploymentView,
    NodeView,
    Page,
    StatusRecord,
)
from services.ledger.adapters.database import outages_named
from services.ledger.adapters.kept_copy import read_kept_copy
from services.ledger.adapters.tables import (
    CHECKPOINT,
    COMMITS,
    DEPLOYMENTS,
    HISTORY,
    NODE_STANDINGS,
    NODES,
    REPLICAS,
)
from services.ledger.adapters.views import (
    deployment_view,
    node_view,
    status_change,
    status_record,
)
from services.ledger.app.ports import DeploymentFilter, DeploymentSort, KeptCopy
from services.ledger.core.making import LAST_INSTANT_US, bounded, clean

_RECORDS_AT_ONCE = 500

_POSITION = select(CHECKPOINT.c.position).scalar_subquery().label("as_of")

_D, _R, _N, _H = DEPLOYMENTS.c, REPLICAS.c, NODES.c, HISTORY.c
_S = NODE_STANDINGS.c

_LIVING = frozenset(DeploymentStatus) - {DeploymentStatus.DELETED}

# Nodes that were removed are shown to those only who name them by their ids.
_OF_THE_FLEET = _N.exact_status != int(NodeStatus.REMOVED)

_DEPLOYMENT = select(*[column for column in _D if column is not _D.replicas]).select_from(
    DEPLOYMENTS
)

_SORTS: dict[DeploymentSort, Column[Any]] = {
    DeploymentSort.CREATED_AT: _D.created_at,
    DeploymentSort.NAME: _D.name,
    DeploymentSort.STATUS: _D.status,
}


def _replicas() -> Select[Any]:
    """Select a deployment's replicas as one JSON array."""
    replica = func.jsonb_build_array(
        _R.id,
        _R.slot,
        _R.generation,
        _R.exact_state,
        _R.node_id,
        _S.node_id,
        _R.container_id,
        _micros(_R.started_at),
        _R.health,
        _R.restart_count,
        _R.reason,
        _R.unknown,
        _R.gpu_devices,
        _R.ports,
    )
    return (
        select(func.jsonb_agg(aggregate_order_by(replica, _R.slot)).label("found"))
        .select_from(REPLICAS.outerjoin(NODE_STANDINGS, _S.id == _R.node_id))
        .where(_R.deployment_id == _D.id)
    )


def _changes() -> Select[Any]:
    """Select a deployment's latest changes as one JSON array, newest first."""
    latest = (
        select(_H.exact_old_status, _H.exact_new_status, _H.changed_at, _H.reason, _H.sequence)
        .where(_H.deployment_id == _D.id)
        .order_by(_H.sequence.desc())
        .limit(RECENT_CHANGES)
        .correlate(DEPLOYMENTS)
        .subquery()
    )
    change = func.jsonb_build_array(
        latest.c.exact_old_status,
        latest.c.exact_new_status,
        _micros(latest.c.changed_at),
        latest.c.reason,
        latest.c.sequence,
    )
    return select(
        func.jsonb_agg(aggregate_order_by(change, latest.c.sequence.desc())).label("found")
    )


def _micros(column: ColumnElement[Any]) -> ColumnElement[Any]:
    # Exact: PostgreSQL extracts epochs as numeric.
    return (func.extract("epoch", column) * 1_000_000).cast(COMMITS.c.sequence.type)


class PostgresReads:
    """A `LedgerReads` in PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        replicas, changes = lateral(_replicas()), lateral(_changes())
        self._whole_deployment = (
            _DEPLOYMENT.add_columns(
                replicas.c.found.label("replicas"), changes.c.found.label("changes"), _POSITION
            )
            .join(replicas, true())
            .join(changes, true())
        )

    async def deployment(self, deployment_id: str) -> AsOf[DeploymentView] | None:
        wanted = _uuid(deployment_id)
        if wanted is None:
            return None
        async with outages_named(), self._engine.connect() as connection:
            row = (
                await connection.execute(self._whole_deployment.where(_D.id == wanted))
            ).one_or_none()
            if row is None:
                return None
            return AsOf(deployment_view(row, row.replicas or (), row.changes or ()), row.as_of)

    async def deployments(self, wanted: DeploymentFilter) -> AsOf[Page[DeploymentView]]:
        parts, sort = _parts(wanted), _SORTS[wanted.sort_by]
        # No more of each than could be on the page, by an index that has them in order.
        listed = [
            _DEPLOYMENT.where(*part).order_by(*_ordered(wanted, sort, _D.id)).limit(wanted.reach)
            for part in parts
        ]
        found = union_all(*listed).subquery()
        order = _ordered(wanted, found.c[sort.name], found.c.id)
        page = select(found).order_by(*order).limit(wanted.limit).offset(wanted.offset)
        counted = [select(literal(1)).select_from(DEPLOYMENTS).where(*part) for part in parts]
        total = select(func.count()).select_from(union_all(*counted).subquery())
        async with self._snapshot() as connection:
            views = tuple([deployment_view(row) for row in await connection.execute(page)])
            return await _paged(connection, views, total)

    async def node(self, node: str) -> AsOf[NodeView] | None:
        by_id = _uuid(node)
        name_is = and_(_N.node_id == clean(node), _OF_THE_FLEET)
        query = (
            select(NODES, _POSITION)
            .where(or_(_N.id == by_id, name_is) if by_id else name_is)
            # Names need not be unique: an id goes first, then who connected last.
            .order_by(*([(_N.id == by_id).desc()] if by_id else []), _N.epoch.desc())
            .limit(1)
        )
        async with outages_named(), self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
            return None if row is None else AsOf(node_view(row), row.as_of)

    async def nodes(self, limit: int, offset: int) -> AsOf[Page[NodeView]]:
        page = (
            select(NODES)
            .where(_OF_THE_FLEET)
            .order_by(_N.node_id, _N.id)
            .limit(limit)
            .offset(offset)
        )
        there = _S.exact_status != int(NodeStatus.REMOVED)
        total = select(func.count()).select_from(NODE_STANDINGS).where(there)
        async with self._snapshot() as connection:
            views = tuple([node_view(row) for row in await connection.execute(page)])
            return await _paged(connection, views, total)

    async def statuses(self) -> AsyncGenerator[AsOf[tuple[StatusRecord, ...]]]:
        changes = lateral(_changes())
        query = select(_D.id, _D.exact_status, _D.updated_at, changes.c.found.label("changes"))
        async with self._snapshot() as connection:
            position: int = (await connection.execute(select(CHECKPOINT.c.position))).scalar_one()
            rows: AsyncResult[Any] = await connection.stream(query.join(changes, true()))
            async for found in rows.partitions(_RECORDS_AT_ONCE):
                yield AsOf(tuple([status_record(row) for row in found]), position)

    async def changes(self, first: int, last: int) -> Sequence[StatusChange]:
        query = (
            select(HISTORY)
            .where(_H.sequence.between(first, last))
            .order_by(_H.sequence, _H.deployment_id)
        )
        async with outages_named(), self._engine.connect() as connection:
            return [status_change(row) for row in await connection.execute(query)]

    async def kept_copy(self) -> KeptCopy:
        async with outages_named(), self._engine.connect() as connection:
            return await read_kept_copy(connection)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[AsyncConnection]:
        async with outages_named(), self._engine.connect() as connection:
            yield await connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )


async def _paged(
    connection: AsyncConnection, views: tuple[Any, ...], total: Select[Any]
) -> AsOf[Page[Any]]:
    row = (
        await connection.execute(select(total.scalar_subquery().label("total"), _POSITION))
    ).one()
    return AsOf(Page(views, row.total), row.as_of)


def _parts(wanted: DeploymentFilter) -> list[list[ColumnElement[bool]]]:
    """Return on which conditions living deployments are wanted, and deleted ones.

    Apart, for each index is of the ones or of the others; where no status is asked for that says
    more than that, the index alone counts them.
    """
    common = _conditions(wanted)
    statuses = set(wanted.statuses) or _LIVING
    living = statuses & _LIVING
    parts = []
    if living == _LIVING:
        parts.append([_D.deleted_at.is_(None), *common])
    elif living:
        of_these = _D.exact_status.in_(sorted(living))
        parts.append([_D.deleted_at.is_(None), of_these, *common])
    if DeploymentStatus.DELETED in statuses:
        parts.append([_D.deleted_at.is_not(None), *common])
    return parts


def _ordered(wanted: DeploymentFilter, *keys: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [key.asc() if wanted.ascending else key.desc() for key in keys]


def _conditions(wanted: DeploymentFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.owner_id:
        conditions.append(_D.user_id == clean(wanted.owner_id))
    if wanted.name_contains:
        conditions.append(_D.name.contains(clean(wanted.name_contains), autoescape=True))
    if wanted.created_after_us > LAST_INSTANT_US:
        conditions.append(~true())
    elif wanted.created_after_us > 0:
        conditions.append(_D.created_at >= _instant(wanted.created_after_us))
    if wanted.created_before_us:
        conditions.append(_D.created_at <= _instant(wanted.created_before_us))
    if wanted.cluster_id:
        conditions.append(_D.cluster_id == wanted.cluster_id)
    return conditions


def _instant(instant_us: int) -> BindParameter[Any]:
    return literal(bounded(instant_us), _D.created_at.type)


def _uuid(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None
