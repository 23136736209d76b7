"""The tree over the log: how far it has grown, and the nodes that proofs are computed from."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TREE = """
CREATE TABLE public.log_tree (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    size bigint NOT NULL,
    frontier bytea NOT NULL
);
INSERT INTO public.log_tree (size, frontier) VALUES (0, '');
COMMENT ON TABLE public.log_tree IS
    'RFC 6962 tree over the commits: hashes of the complete subtrees, the largest first';
CREATE TABLE public.tree_nodes (
    level smallint NOT NULL,
    number bigint NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, number)
)
"""


def upgrade() -> None:
    for statement in _TREE.split(";\n"):
        op.execute(statement)
