"""Tables of what was, so that lists and clusters of the past need no folding.

They are empty until the tables are built again, which a ledger does before it projects.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE TABLE public.former_deployments (
    deployment_id uuid NOT NULL,
    until_sequence bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    user_id text NOT NULL,
    cluster_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (deployment_id, until_sequence)
);
COMMENT ON TABLE public.former_deployments IS
    'Names and clusters that deployments had before a commit, and lives of forgotten ones whose '
    'ids were created anew';
CREATE TABLE public.cluster_history (
    cluster_id bigint NOT NULL,
    sequence bigint NOT NULL,
    name text NOT NULL,
    created_position bigint NOT NULL,
    organization_id bigint NOT NULL,
    quota json NOT NULL,
    organization_quota json NOT NULL,
    used json NOT NULL,
    PRIMARY KEY (cluster_id, sequence)
);
COMMENT ON TABLE public.cluster_history IS
    'Clusters after each commit that changed a quota or what is used: cpu_millicores, memory_mib, '
    'storage_gib, gpu_thousandths, replicas';
CREATE INDEX cluster_history_created ON public.cluster_history (organization_id, cluster_id)
    WHERE sequence = created_position >> 16;
CREATE TABLE public.node_name_history (
    node_id uuid NOT NULL,
    sequence bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    removed boolean NOT NULL,
    PRIMARY KEY (node_id, sequence)
);
COMMENT ON TABLE public.node_name_history IS
    'What nodes were called after each commit that changed it, and whether they were removed';
CREATE TABLE public.node_use_history (
    node_id uuid NOT NULL,
    sequence bigint NOT NULL,
    booked text NOT NULL,
    held text NOT NULL,
    replicas integer NOT NULL,
    PRIMARY KEY (node_id, sequence)
);
COMMENT ON TABLE public.node_use_history IS
    'What replicas took of nodes after each commit that changed it: cpu_millicores, memory_mib, '
    'storage_gib, gpu_thousandths';
CREATE INDEX deployments_living ON public.deployments (created_at) WHERE deleted_at IS NULL;
CREATE INDEX deployments_gone ON public.deployments (created_at, version)
    WHERE deleted_at IS NOT NULL
"""


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        op.execute(statement)
