"""A batch for the tables as one SQL statement, so that writing it takes one exchange.

Of a large batch the statement has only what changes rows that stand, and what there is little of;
the rest is copied in after it: that costs less for each row, and two exchanges for each table. Rows
go in as arrays, one for each column. Everything hangs on the checkpoint: where that is no longer
what the writer knows, none of the statement's parts finds anything to do.
Its text follows from which kinds of rows there are, so that few are prepared.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, NamedTuple

from msgspec.structs import astuple
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.schema import Column, Table

from services.ledger.adapters.database import json_text
from services.ledger.adapters.tables import (
    CLUSTER_HISTORY,
    COMMITS,
    DEPLOYMENTS,
    FORMER_DEPLOYMENTS,
    HISTORY,
    NODE_NAME_HISTORY,
    NODE_STANDINGS,
    NODE_USE_HISTORY,
    TOUCHES,
    TREE_NODES,
)
from services.ledger.app.ports import Checkpoint
from services.ledger.core.log_tree import TreeGrowth, TreeNodeRow
from services.ledger.core.past_rows import (
    ClusterRow,
    CreatedRow,
    FormerDeploymentRow,
    NodeNameRow,
    NodeUseRow,
)
from services.ledger.core.projection import TableChanges
from services.ledger.core.rows import (
    ChangeRow,
    CommitRow,
    DeploymentRow,
    DeploymentStateRow,
    NodeRow,
    NodeStateRow,
    TableRow,
)
from services.ledger.core.touched import TouchRow

_INSTANT_SUFFIX = "_us"
# What comes as lists.
_LISTS = (DEPLOYMENTS.c.replicas, TOUCHES.c.more)
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_ADVANCE = (
    "WITH advanced AS (UPDATE public.checkpoint SET position = $1, digest = $2 "
    "WHERE position = $3 AND digest = $4 RETURNING true), "
    "grown AS (UPDATE public.log_tree SET size = $5, frontier = $6 FROM advanced)"
)
_FIRST_FREE = 7
_ADVANCED = " SELECT EXISTS (SELECT FROM advanced)"


def columns_of(row: type[TableRow]) -> list[str]:
    """Return the names of the columns that rows of a kind have."""
    return [field.removesuffix(_INSTANT_SUFFIX) for field in row.__struct_fields__]


class _Kind:
    """Rows of one kind; their text names parameters from a number on, one for each column."""

    def __init__(self, table: Table, row: type[TableRow]) -> None:
        self.columns = columns_of(row)
        self._table = f"public.{table.name}"
        self._types = [_array_of(table.c[name]) for name in self.columns]
        self._lists = [
            at
            for at, name in enumerate(self.columns)
            if any(table.c[name] is column for column in _LISTS)
        ]

    def text(self, first: int) -> str:
        """Return the part of a statement that writes the rows."""
        raise NotImplementedError

    def arguments(self, rows: Sequence[TableRow]) -> list[Sequence[Any]]:
        """Return the columns of rows."""
        columns: list[Sequence[Any]] = list(zip(*map(astuple, rows), strict=True))
        for at in self._lists:
            # The driver would take arrays in an array for its other dimensions.
            columns[at] = [None if each is None else json_text(each) for each in columns[at]]
        return columns

    def _incoming(self, first: int) -> str:
        arrays = ", ".join(f"${first + at}::{type_}" for at, type_ in enumerate(self._types))
        return f"advanced, unnest({arrays}) AS incoming ({', '.join(self.columns)})"


class _Added(_Kind):
    """Whole rows, in place of those that stand under the same ids if some do."""

    def __init__(self, table: Table, row: type[TableRow], *, replace: bool = False) -> None:
        super().__init__(table, row)
        given = ", ".join(f"{name} = excluded.{name}" for name in self.columns if name != "id")
        self._end = f" ON CONFLICT (id) DO UPDATE SET {given}" if replace else ""

    def text(self, first: int) -> str:
        names = ", ".join(self.columns)
        values = ", ".join(f"incoming.{name}" for name in self.columns)
        return (
            f"INSERT INTO {self._table} ({names}) SELECT {values} FROM {self._incoming(first)}"  # noqa: S608 (our own names)
            f"{self._end}"
        )


class _Changed(_Kind):
    """Some columns of rows that stand in their table."""

    def text(self, first: int) -> str:
        given = ", ".join(f"{name} = incoming.{name}" for name in self.columns if name != "id")
        return (
            f"UPDATE {self._table} AS present SET {given} FROM {self._incoming(first)} "  # noqa: S608 (our own names)
            "WHERE incoming.id = present.id"
        )


class _FormerRow(TableRow, frozen=True):
    id: str


class _Dropped(_Kind):
    """The ids of rows that others are to take the place of."""

    def __init__(self, table: Table) -> None:
        self.columns = columns_of(_FormerRow)
        self._table = f"public.{table.name}"
        self._types = ["uuid[]"]
        self._lists: list[int] = []

    def text(self, first: int) -> str:
        return (
            f"DELETE FROM {self._table} AS former USING {self._incoming(first)} "  # noqa: S608 (our own names)
            "WHERE former.id = incoming.id"
        )


class _FormerLives(_Kind):
    """What the table has, before this statement, of deployments that are created anew."""

    def __init__(self) -> None:
        self.columns = columns_of(CreatedRow)
        self._types = ["uuid[]", "bigint[]"]
        self._lists: list[int] = []

    def text(self, first: int) -> str:
        return former_lives("public", self._incoming(first))


def former_lives(schema: str, created: str) -> str:
    """Return what keeps of forgotten deployments what `created` ones replace under their ids.

    `created` names a relation `incoming`, of `CreatedRow`s.
    """
    return (
        f"INSERT INTO {schema}.former_deployments ({', '.join(columns_of(FormerDeploymentRow))}) "  # noqa: S608 (our own names)
        "SELECT former.id, incoming.sequence, former.name, former.user_id, former.cluster_id, "
        f"former.created_at FROM {created} JOIN {schema}.deployments AS former "
        "ON former.id = incoming.deployment_id"
    )


def _array_of(column: Column[Any]) -> str:
    return f"{column.type.compile(dialect=_DIALECT)}[]"


_TREE_NODES = _Added(TREE_NODES, TreeNodeRow)
_NODES_AGAIN = _Added(NODE_STANDINGS, NodeRow, replace=True)
_NODE_STATES = _Changed(NODE_STANDINGS, NodeStateRow)
_NODES_DROPPED = _Dropped(NODE_STANDINGS)
_DEPLOYMENTS_DROPPED = _Dropped(DEPLOYMENTS)
_DEPLOYMENT_STATES = _Changed(DEPLOYMENTS, DeploymentStateRow)
_FORMER_LIVES = _FormerLives()
_FORMER_DEPLOYMENTS = _Added(FORMER_DEPLOYMENTS, FormerDeploymentRow)
_CLUSTERS = _Added(CLUSTER_HISTORY, ClusterRow)
_NODE_NAMES = _Added(NODE_NAME_HISTORY, NodeNameRow)
_ADDED = {
    COMMITS: _Added(COMMITS, CommitRow),
    NODE_STANDINGS: _Added(NODE_STANDINGS, NodeRow),
    DEPLOYMENTS: _Added(DEPLOYMENTS, DeploymentRow, replace=True),
    HISTORY: _Added(HISTORY, ChangeRow),
    TOUCHES: _Added(TOUCHES, TouchRow),
    NODE_USE_HISTORY: _Added(NODE_USE_HISTORY, NodeUseRow),
}


class BatchStatement(NamedTuple):
    """A statement that answers whether the checkpoint was where it should be, and its arguments."""

    text: str
    arguments: list[Any]


def batch_statement(
    former: Checkpoint,
    reached: Checkpoint,
    commits: Sequence[CommitRow],
    changes: TableChanges,
    growth: TreeGrowth,
    *,
    copied: Collection[Table] = (),
) -> BatchStatement:
    """Return what writes commits, rows, tree and checkpoint if that is at `former`.

    Not what belongs into tables to which it is to be `copied` after it.
    """
    parts: list[tuple[_Kind, Sequence[TableRow]]] = [
        (_TREE_NODES, growth.nodes),
        (_NODE_STATES, changes.node_states),
        (_DEPLOYMENT_STATES, changes.deployment_states),
        (_FORMER_LIVES, changes.past.created),
        (_FORMER_DEPLOYMENTS, changes.past.former_deployments),
        (_CLUSTERS, changes.past.clusters),
        (_NODE_NAMES, changes.past.node_names),
    ]
    if NODE_STANDINGS in copied:
        parts.append((_NODES_DROPPED, [_FormerRow(id_) for id_ in changes.former_nodes]))
    if DEPLOYMENTS in copied:
        parts.append((_DEPLOYMENTS_DROPPED, [_FormerRow(row.id) for row in changes.deployments]))
    for table, added in _to_add(commits, changes):
        if table not in copied:
            again = table is NODE_STANDINGS and changes.former_nodes
            parts.append((_NODES_AGAIN if again else _ADDED[table], added))
    arguments: list[Any] = [*_values(reached), *_values(former), *growth.head]
    kinds = []
    for kind, rows in parts:
        if rows:
            kinds.append(kind)
            arguments += kind.arguments(rows)
    return BatchStatement(_text(tuple(kinds)), arguments)


def rows_to_copy(
    commits: Sequence[CommitRow], changes: TableChanges, few: int
) -> dict[Table, Sequence[TableRow]]:
    """Return the rows that a large batch copies in, by their tables: more than `few` into each."""
    return {table: rows for table, rows in _to_add(commits, changes) if len(rows) > few}


def _to_add(
    commits: Sequence[CommitRow], changes: TableChanges
) -> list[tuple[Table, Sequence[TableRow]]]:
    """Return the whole rows of which there may be many."""
    return [
        (COMMITS, commits),
        (NODE_STANDINGS, changes.nodes),
        (DEPLOYMENTS, changes.deployments),
        (HISTORY, changes.changes),
        (TOUCHES, changes.touches),
        (NODE_USE_HISTORY, changes.past.node_uses),
    ]


def _values(checkpoint: Checkpoint) -> tuple[int, bytes]:
    return checkpoint.position, checkpoint.digest


@cache
def _text(kinds: tuple[_Kind, ...]) -> str:
    text, first = _ADVANCE, _FIRST_FREE
    for number, kind in enumerate(kinds):
        text += f", part_{number} AS ({kind.text(first)})"
        first += len(kind.columns)
    return text + _ADVANCED
