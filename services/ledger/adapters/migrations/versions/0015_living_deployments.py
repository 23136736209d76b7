"""Living deployments are found without all those that were deleted, which stay for ever.

No state that changes is in an index or in what it is of, so states are updated in place as before.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE INDEX deployments_living_of_user ON public.deployments (user_id, created_at, id)
WHERE deleted_at IS NULL;
CREATE INDEX deployments_living_of_cluster ON public.deployments (cluster_id, created_at, id)
WHERE deleted_at IS NULL
"""


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        op.execute(statement)
