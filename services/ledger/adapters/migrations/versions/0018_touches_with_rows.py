"""A row that a commit adds for a deployment or a node says by itself which event touches it.

For most commits there is one such event, so that the index from things to their events had a second
row, with a second entry in an index, for each change of a status and of what is on a node.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE public.deployment_status_history ADD COLUMN touched integer;
COMMENT ON COLUMN public.deployment_status_history.touched IS
    'The only event of the commit that touches the deployment (its index), if it counts; '
    'else commit_touches has them';
ALTER TABLE public.node_use_history ADD COLUMN touched integer;
COMMENT ON COLUMN public.node_use_history.touched IS
    'The only event of the commit that touches the node (its index), if it counts; '
    'else commit_touches has them';
CREATE OR REPLACE VIEW public.touches AS
SELECT kind, id, position, counts FROM public.commit_touches
UNION ALL
SELECT t.kind, t.id, t.position >> 16 << 16 | abs(others.index::integer), others.index::integer > 0
FROM public.commit_touches t CROSS JOIN json_array_elements_text(t.more) AS others (index)
WHERE t.more IS NOT NULL
UNION ALL
SELECT 1::smallint, deployment_id, sequence << 16 | touched, true
FROM public.deployment_status_history WHERE touched IS NOT NULL
UNION ALL
SELECT 2::smallint, node_id, sequence << 16 | touched, true
FROM public.node_use_history WHERE touched IS NOT NULL
"""


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        op.execute(statement)
