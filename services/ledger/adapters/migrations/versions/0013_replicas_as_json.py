"""Deployments have their replicas, and what is seldom read of them, as JSON in the form of text.

Making an array of a composite type cost a ledger twice as much as all other columns together.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TABLE = """
ALTER TABLE public.deployments RENAME TO former_deployments;
ALTER INDEX public.deployments_pkey RENAME TO former_deployments_pkey;
DROP INDEX public.deployments_created_at;
DROP INDEX public.deployments_user_created_at;
CREATE TABLE public.deployments (LIKE public.former_deployments INCLUDING STORAGE)
    WITH (fillfactor = 70);
ALTER TABLE public.deployments
    ADD PRIMARY KEY (id),
    ALTER COLUMN rollout TYPE json USING NULL,
    ALTER COLUMN disconnect TYPE json USING NULL,
    ALTER COLUMN container TYPE json USING NULL,
    ALTER COLUMN replicas TYPE json USING NULL
"""

# In steps, each of which ends well before a statement may take too long.
_STEPS = 64
_COLUMNS = (
    "id, name, user_id, type, container_image, target_replicas, running_replicas, status, "
    "exact_status, health, reason, region, priority, cluster_id, strategy, wait_for_capacity, "
    "constraints, gpu_model, restart, labels, allow_colocation, rollout, disconnect, "
    "available_nodes, version, created_at, updated_at, deleted_at, cpu_millicores, memory_mb, "
    "storage_gb, gpu_thousandths, container, asked_image"
)
_MOVE = f"""
INSERT INTO public.deployments ({_COLUMNS}, replicas)
SELECT {_COLUMNS},
    (
        SELECT coalesce(
            json_agg(
                json_build_array(
                    r.id, r.slot, r.generation, r.node_id, r.status, r.exact_state, r.container_id,
                    (extract(epoch FROM r.started_at) * 1000000)::bigint, r.health,
                    r.restart_count, r.reason, r.unknown, coalesce(r.gpu_devices, '{{{{}}}}'),
                    coalesce(r.ports, '{{{{}}}}')
                )
                ORDER BY r.slot
            ),
            '[]'
        )
        FROM unnest(d.replicas) r
    )
FROM public.former_deployments d
WHERE d.id BETWEEN '{{first}}' AND '{{last}}'
"""  # noqa: S608  (our own names)

# Instants are microseconds since 1970; whole seconds and the rest of them apart are exact.
_VIEWS = """
DROP VIEW public.deployment_replicas;
DROP VIEW public.deployment_resources;
DROP TABLE public.former_deployments;
DROP TYPE public.replica_list;
DROP TYPE public.replica;
CREATE INDEX deployments_created_at ON public.deployments (created_at, id);
CREATE INDEX deployments_user_created_at ON public.deployments (user_id, created_at, id);
CREATE VIEW public.deployment_resources AS
SELECT id AS deployment_id, cpu_millicores, memory_mb, storage_gb, gpu_thousandths,
    (cpu_millicores / 1000.0)::double precision AS cpu_cores,
    (gpu_thousandths / 1000.0)::double precision AS gpu_units
FROM public.deployments;
CREATE VIEW public.deployment_replicas AS
SELECT (r ->> 0)::uuid AS id, d.id AS deployment_id, (r ->> 1)::integer AS slot,
    (r ->> 2)::integer AS generation, (r ->> 3)::uuid AS node_id, r ->> 4 AS status,
    (r ->> 5)::smallint AS exact_state, r ->> 6 AS container_id,
    to_timestamp((r ->> 7)::bigint / 1000000)
        + (r ->> 7)::bigint % 1000000 * interval '1 microsecond' AS started_at,
    (r ->> 8)::smallint AS health, (r ->> 9)::integer AS restart_count, r ->> 10 AS reason,
    (r ->> 11)::boolean AS unknown,
    ARRAY(SELECT jsonb_array_elements_text(r -> 12)::smallint) AS gpu_devices,
    ARRAY(SELECT jsonb_array_elements_text(r -> 13)) AS ports
FROM public.deployments d, jsonb_array_elements(d.replicas::jsonb) r
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
