"""Deployments say how their containers are made; replicas show where their ports are reached."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE public.deployments ADD COLUMN container jsonb NOT NULL DEFAULT '{}';
ALTER TYPE public.replica ADD ATTRIBUTE ports text[];
CREATE OR REPLACE VIEW public.deployment_replicas AS
SELECT r.id, d.id AS deployment_id, r.slot, r.generation, r.node_id, r.status, r.exact_state,
    r.container_id, r.started_at, r.health, r.restart_count, r.reason, r.unknown, r.gpu_devices,
    r.ports
FROM public.deployments d, unnest(d.replicas) r
"""


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        op.execute(statement)
