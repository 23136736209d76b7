"""The replicas of several deployments go in as one array: each one's own in a list."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TYPE public.replica_list AS (replicas public.replica[])")
