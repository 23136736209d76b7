"""A deployment's row says nothing of what its author left as it is: most of them say nothing else.

How updates go, what becomes of replicas that are cut off and how containers run took 281 bytes.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_PARTS = {
    "rollout": "How updates replace replicas",
    "disconnect": "What becomes of replicas whose node is cut off",
    "container": "Commands, ports, volumes, probes and the end of containers",
}


def upgrade() -> None:
    for name, what in _PARTS.items():
        op.execute(f"ALTER TABLE public.deployments ALTER COLUMN {name} DROP NOT NULL")
        op.execute(f"COMMENT ON COLUMN public.deployments.{name} IS '{what}; NULL: as usual'")
