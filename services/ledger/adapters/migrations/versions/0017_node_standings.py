"""What replicas take of a node stands once: in the last row of its use, no more in its own row too.

`nodes` shows both together, as it was. To place replicas on a node adds one row, and changes none.
Living deployments have one index less: any of the others leads to all of them as well.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_AMOUNTS = ("cpu_millicores", "memory_mib", "storage_gib", "gpu_thousandths")
_USES = ("booked", "held")
_HOST_AMOUNTS = [f"{what}_{amount}" for what in ("capacity", "allocatable") for amount in _AMOUNTS]
_USED = [f"{what}_{amount}" for what in _USES for amount in _AMOUNTS]
_FIRST = (
    "id, node_id, status, exact_status, reason, cordoned, draining, drain_deadline, region, arch, "
    "os, gpu_available, gpu_model, runtime, agent_version, details, labels, cpu_usage_percent, "
    f"memory_usage_percent, {', '.join(_HOST_AMOUNTS)}"
)
_SHOWN = ", ".join(
    f"coalesce(u.{what}[{place}], 0) AS {what}_{amount}"
    for what in _USES
    for place, amount in enumerate(_AMOUNTS, 1)
)

_STATEMENTS = f"""
ALTER TABLE public.nodes RENAME TO node_standings;
ALTER INDEX public.nodes_pkey RENAME TO node_standings_pkey;
ALTER INDEX public.nodes_name RENAME TO node_standings_name;
ALTER TABLE public.node_standings {", ".join(f"DROP COLUMN {name}" for name in _USED)},
    DROP COLUMN replicas;
COMMENT ON TABLE public.node_standings IS
    'Nodes without what replicas take of them, which the last row of node_use_history has';
CREATE VIEW public.nodes AS
SELECT {_FIRST}, {_SHOWN}, coalesce(u.replicas, 0) AS replicas, epoch, connected_at
FROM public.node_standings AS n LEFT JOIN LATERAL (
    SELECT string_to_array(h.booked, ',')::bigint[] AS booked,
        string_to_array(h.held, ',')::bigint[] AS held, h.replicas
    FROM public.node_use_history AS h WHERE h.node_id = n.id ORDER BY h.sequence DESC LIMIT 1
) AS u ON true;
DROP INDEX public.deployments_living
"""  # noqa: S608  (our own names)


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        op.execute(statement)
