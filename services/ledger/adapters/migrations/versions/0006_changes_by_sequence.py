"""Changes of status are found by the commits that made them.

They are added in the order of the log, so that ranges of pages do for an index: keeping it up costs
next to nothing.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENT = """
CREATE INDEX deployment_status_history_sequence ON public.deployment_status_history
USING brin (sequence) WITH (pages_per_range = 16, autosummarize = on)
"""


def upgrade() -> None:
    op.execute(_STATEMENT)
