"""A deployment is one row, its resources and replicas included; the log's bytes as they are.

Writing a row costs the database the same however wide it is, so what changes together stands
together; the former tables are views. Compressing commits took more than all else about them.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLE = """
CREATE TYPE public.replica AS (
    id uuid,
    slot integer,
    generation integer,
    node_id uuid,
    status text,
    exact_state smallint,
    container_id text,
    started_at timestamptz,
    health smallint,
    restart_count integer,
    reason text,
    unknown boolean
);
ALTER TABLE public.deployments RENAME TO former_deployments;
ALTER TABLE public.former_deployments
    ADD COLUMN IF NOT EXISTS disconnect jsonb NOT NULL DEFAULT '{}';
DROP INDEX public.deployments_created_at;
DROP INDEX public.deployments_user_created_at;
ALTER INDEX public.deployments_pkey RENAME TO former_deployments_pkey;
CREATE TABLE public.deployments (
    id uuid PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    user_id text NOT NULL,
    type text NOT NULL,
    container_image text NOT NULL,
    target_replicas integer NOT NULL,
    running_replicas integer NOT NULL,
    status text COLLATE "C" NOT NULL,
    exact_status smallint NOT NULL,
    health smallint NOT NULL,
    reason text NOT NULL,
    region text NOT NULL,
    priority integer NOT NULL,
    cluster_id bigint NOT NULL,
    strategy text NOT NULL,
    wait_for_capacity boolean NOT NULL,
    constraints jsonb NOT NULL,
    gpu_model text NOT NULL,
    restart smallint NOT NULL,
    labels jsonb NOT NULL,
    allow_colocation boolean NOT NULL,
    rollout jsonb NOT NULL,
    disconnect jsonb NOT NULL,
    available_nodes integer,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    cpu_millicores bigint NOT NULL,
    memory_mb bigint NOT NULL,
    storage_gb bigint NOT NULL,
    gpu_thousandths bigint NOT NULL,
    replicas public.replica[] NOT NULL
) WITH (fillfactor = 70);
ALTER TABLE public.commits ALTER COLUMN data SET STORAGE EXTERNAL
"""

# In steps, each of which ends well before a statement may take too long.
_STEPS = 64
_MOVE = """
INSERT INTO public.deployments
SELECT d.id, d.name, d.user_id, d.type, d.container_image, d.target_replicas, d.running_replicas,
    d.status, d.exact_status, d.health, d.reason, d.region, d.priority, d.cluster_id, d.strategy,
    d.wait_for_capacity, d.constraints, d.gpu_model, d.restart, d.labels, d.allow_colocation,
    d.rollout, d.disconnect, d.available_nodes, d.version, d.created_at, d.updated_at, d.deleted_at,
    r.cpu_millicores, r.memory_mb, r.storage_gb, r.gpu_thousandths,
    coalesce(
        (
            SELECT array_agg(
                ROW(
                    p.id, p.slot, p.generation, p.node_id, p.status, p.exact_state, p.container_id,
                    p.started_at, p.health, p.restart_count, p.reason, p.unknown
                )::public.replica
                ORDER BY p.slot
            )
            FROM public.deployment_replicas p
            WHERE p.deployment_id = d.id
        ),
        '{{}}'
    )
FROM public.former_deployments d
JOIN public.deployment_resources r ON r.deployment_id = d.id
WHERE d.id BETWEEN '{first}' AND '{last}'
"""

_VIEWS = """
DROP TABLE public.former_deployments;
DROP TABLE public.deployment_resources;
DROP TABLE public.deployment_replicas;
CREATE INDEX deployments_created_at ON public.deployments (created_at, id);
CREATE INDEX deployments_user_created_at ON public.deployments (user_id, created_at, id);
CREATE VIEW public.deployment_resources AS
SELECT id AS deployment_id, cpu_millicores, memory_mb, storage_gb, gpu_thousandths,
    (cpu_millicores / 1000.0)::double precision AS cpu_cores,
    (gpu_thousandths / 1000.0)::double precision AS gpu_units
FROM public.deployments;
CREATE VIEW public.deployment_replicas AS
SELECT r.id, d.id AS deployment_id, r.slot, r.generation, r.node_id, r.status, r.exact_state,
    r.container_id, r.started_at, r.health, r.restart_count, r.reason, r.unknown
FROM public.deployments d, unnest(d.replicas) r
"""


def upgrade() -> None:
    for statement in _TABLE.split(";\n"):
        op.execute(statement)
    width = (1 << 128) // _STEPS
    for step in range(_STEPS):
        first, last = step * width, (step + 1) * width - 1
        op.execute(_MOVE.format(first=f"{first:032x}", last=f"{last:032x}"))
    for statement in _VIEWS.split(";\n"):
        op.execute(statement)
