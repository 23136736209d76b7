"""Which projection made the tables; of another one than the release's they are built again."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE public.checkpoint ADD COLUMN projection integer NOT NULL DEFAULT 0")
