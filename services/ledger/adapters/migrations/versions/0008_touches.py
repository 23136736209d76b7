"""An index from each thing to the events that touch it, filled from the copy of the log."""

from collections.abc import Iterator

from alembic import op
from sqlalchemy import Connection, text

from fogbank.codec import decode_commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.position import pack, sequence_of
from services.ledger.core.touched import touch_rows

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE TABLE public.touches (
    kind smallint NOT NULL,
    id uuid NOT NULL,
    position bigint NOT NULL,
    counts boolean NOT NULL,
    PRIMARY KEY (kind, id, position)
);
COMMENT ON TABLE public.touches IS
    'Which events (position: sequence << 16 | index) touch a thing; kinds: 1 deployment, 2 node, '
    '3 user, 4 cluster, 5 organization, 6 which host a node is and whether it is there, '
    '7 loads of a node, 8 nodes by name, 9 policies'
"""
_COMMITS = text(
    "SELECT sequence, service, instance, data FROM public.commits "
    "WHERE sequence > :after ORDER BY sequence LIMIT 200"
)
_INSERT = text(
    "INSERT INTO public.touches SELECT * FROM unnest(CAST(:kinds AS smallint[]), "
    "CAST(:ids AS uuid[]), CAST(:positions AS bigint[]), CAST(:counts AS boolean[]))"
)


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        op.execute(statement)
    connection = op.get_bind()
    for rows in _rows(connection):
        kinds, ids, positions, counts = (list(column) for column in zip(*rows, strict=True))
        values = {"kinds": kinds, "ids": ids, "positions": positions, "counts": counts}
        connection.execute(_INSERT, values)


def _rows(connection: Connection) -> Iterator[list[tuple[int, str, int, bool]]]:
    """Yield the rows of the commits that are kept, some commits at a time."""
    fleet = FleetState()
    while kept := connection.execute(_COMMITS, {"after": fleet.position}).all():
        rows: list[tuple[int, str, int, bool]] = []
        for stored in kept:
            commit = decode_commit(stored.sequence, stored.service, stored.instance, stored.data)
            rows += [
                (row.kind, row.id, pack(sequence_of(row.position), index), counts)
                for row in touch_rows(fleet, commit, fleet.fold(commit).verdicts)
                for index, counts in row.events
            ]
        if rows:
            yield rows
