"""The projection: what the log says of deployments and nodes, its bytes, and how far that is.

The tables are derived from the log, which does not ask them for leave: there are no foreign keys,
so that an odd commit cannot stop everybody. Rows change often in columns without an index;
the fill factors leave room for that on the same page.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_AMOUNTS = ("cpu_millicores", "memory_mib", "storage_gib", "gpu_thousandths")

_DEPLOYMENTS = """
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
    deleted_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX deployments_created_at ON public.deployments (created_at, id);
CREATE INDEX deployments_user_created_at ON public.deployments (user_id, created_at, id);

CREATE TABLE public.deployment_resources (
    deployment_id uuid PRIMARY KEY,
    cpu_millicores bigint NOT NULL,
    memory_mb bigint NOT NULL,
    storage_gb bigint NOT NULL,
    gpu_thousandths bigint NOT NULL,
    cpu_cores double precision GENERATED ALWAYS AS (cpu_millicores / 1000.0) STORED,
    gpu_units double precision GENERATED ALWAYS AS (gpu_thousandths / 1000.0) STORED
);

CREATE TABLE public.deployment_replicas (
    id uuid PRIMARY KEY,
    deployment_id uuid NOT NULL,
    slot integer NOT NULL,
    generation integer NOT NULL,
    node_id uuid,
    status text NOT NULL,
    exact_state smallint NOT NULL,
    container_id text,
    started_at timestamptz,
    health smallint NOT NULL,
    restart_count integer NOT NULL,
    reason text NOT NULL,
    unknown boolean NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX deployment_replicas_deployment ON public.deployment_replicas (deployment_id);

CREATE TABLE public.deployment_status_history (
    deployment_id uuid NOT NULL,
    sequence bigint NOT NULL,
    old_status text NOT NULL,
    exact_old_status smallint NOT NULL,
    new_status text NOT NULL,
    exact_new_status smallint NOT NULL,
    changed_at timestamptz NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (deployment_id, sequence)
);
"""

_NODES = """
CREATE TABLE public.nodes (
    id uuid PRIMARY KEY,
    node_id text COLLATE "C" NOT NULL,
    status text NOT NULL,
    exact_status smallint NOT NULL,
    reason text NOT NULL,
    cordoned boolean NOT NULL,
    draining boolean NOT NULL,
    drain_deadline timestamptz,
    region text NOT NULL,
    arch text NOT NULL,
    os text NOT NULL,
    gpu_available boolean NOT NULL,
    gpu_model text NOT NULL,
    runtime smallint NOT NULL,
    agent_version text NOT NULL,
    labels jsonb NOT NULL,
    cpu_usage_percent double precision NOT NULL,
    memory_usage_percent double precision NOT NULL,
    {amounts},
    replicas integer NOT NULL,
    epoch bigint NOT NULL,
    connected_at timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX nodes_name ON public.nodes (node_id, id);
""".format(
    amounts=", ".join(
        f"{what}_{amount} bigint NOT NULL"
        for what in ("capacity", "allocatable", "booked", "held")
        for amount in _AMOUNTS
    )
)

_LOG = """
CREATE TABLE public.commits (
    sequence bigint PRIMARY KEY,
    service text NOT NULL,
    instance text NOT NULL,
    appended_at timestamptz NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    data bytea NOT NULL
);
COMMENT ON TABLE public.commits IS
    'Every commit of the log, byte for byte; digest is the SHA-256 of data';

CREATE TABLE public.checkpoint (
    only_row boolean PRIMARY KEY CHECK (only_row),
    fleet text NOT NULL,
    generation integer NOT NULL,
    position bigint NOT NULL,
    digest bytea NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE public.checkpoint IS
    'The last commit that all tables contain; digest is empty before the first';
"""


def upgrade() -> None:
    for statements in (_DEPLOYMENTS, _NODES, _LOG):
        for statement in statements.split(";\n"):
            if statement.strip():
                op.execute(statement)
