"""Snapshots of the folded state, for services that start.

Their bytes are compressed already, so the database need not try.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SNAPSHOTS = """
CREATE TABLE public.snapshots (
    position bigint PRIMARY KEY,
    engine integer NOT NULL,
    structure bytea NOT NULL CHECK (length(structure) = 32),
    digest bytea NOT NULL CHECK (length(digest) = 32)
);
COMMENT ON TABLE public.snapshots IS
    'States right after the rounds at these positions: a start need not fold all of the log';
CREATE TABLE public.snapshot_blocks (
    position bigint NOT NULL REFERENCES public.snapshots ON DELETE CASCADE,
    number integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (position, number)
);
ALTER TABLE public.snapshot_blocks ALTER COLUMN data SET STORAGE EXTERNAL
"""


def upgrade() -> None:
    for statement in _SNAPSHOTS.split(";\n"):
        op.execute(statement)
