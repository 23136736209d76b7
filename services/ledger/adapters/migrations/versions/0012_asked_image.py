"""Deployments show the image of their replicas; after a rollback beside the one asked for."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE public.deployments ADD COLUMN asked_image text")
