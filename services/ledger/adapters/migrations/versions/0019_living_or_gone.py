"""Each index of deployments is of the living or of the deleted ones: lists ask for them apart.

A new deployment enters one index less, and so does one that is deleted. A list no longer passes
over those of others, or over those of the other kind, that happen to be newer than its own.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE INDEX deployments_living ON public.deployments (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX deployments_gone_of_user ON public.deployments (user_id, created_at, id)
WHERE deleted_at IS NOT NULL;
DROP INDEX public.deployments_created_at;
DROP INDEX public.deployments_user_created_at
"""


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        op.execute(statement)
