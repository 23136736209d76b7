"""Replicas show which GPU devices of their node they have."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TYPE public.replica ADD ATTRIBUTE gpu_devices smallint[];
CREATE OR REPLACE VIEW public.deployment_replicas AS
SELECT r.id, d.id AS deployment_id, r.slot, r.generation, r.node_id, r.status, r.exact_state,
    r.container_id, r.started_at, r.health, r.restart_count, r.reason, r.unknown, r.gpu_devices
FROM public.deployments d, unnest(d.replicas) r
"""


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        op.execute(statement)
