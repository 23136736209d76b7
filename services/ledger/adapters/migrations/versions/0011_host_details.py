"""Nodes show what their hosts run on."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE public.nodes ADD COLUMN details jsonb NOT NULL DEFAULT '{}'")
