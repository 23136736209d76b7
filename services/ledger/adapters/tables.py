"""The tables, for those who read them. The migrations make them; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

METADATA = MetaData(schema="public")

# What each replica of a deployment takes.
AMOUNTS = ("cpu_millicores", "memory_mb", "storage_gb", "gpu_thousandths")


def _uuid(name: str, *, key: bool = False, null: bool = False) -> Column[str]:
    return Column(name, Uuid(as_uuid=False), primary_key=key, nullable=null)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _integer(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, Integer, nullable=null)


def _small(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, SmallInteger, nullable=null)


def _big(name: str, *, key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, autoincrement=False, nullable=False)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _instant(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=null)


def _node_amounts(*parts: str, null: bool = False) -> list[Column[int]]:
    return [
        Column(f"{part}_{amount}", BigInteger, nullable=null)
        for part in parts
        for amount in ("cpu_millicores", "memory_mib", "storage_gib", "gpu_thousandths")
    ]


DEPLOYMENTS = Table(
    "deployments",
    METADATA,
    _uuid("id", key=True),
    _text("name"),
    _text("user_id"),
    _text("type"),
    _text("container_image"),
    _text("asked_image", null=True),
    _integer("target_replicas"),
    _integer("running_replicas"),
    _text("status"),
    _small("exact_status"),
    _small("health"),
    _text("reason"),
    _text("region"),
    _integer("priority"),
    _big("cluster_id"),
    _text("strategy"),
    _flag("wait_for_capacity"),
    Column("constraints", JSONB, nullable=False),
    _text("gpu_model"),
    _small("restart"),
    Column("labels", JSONB, nullable=False),
    _flag("allow_colocation"),
    # As text: what is written with every deployment and seldom read costs less so. NULL if nothing
    # in it is asked for.
    Column("rollout", JSON, nullable=True),
    Column("disconnect", JSON, nullable=True),
    Column("container", JSON, nullable=True),
    _integer("available_nodes", null=True),
    _big("version"),
    _instant("created_at"),
    _instant("updated_at"),
    _instant("deleted_at", null=True),
    *(_big(amount) for amount in AMOUNTS),
    # An array of a `ReplicaRow` each; `deployment_replicas` shows it as rows.
    Column("replicas", JSON, nullable=False),
)

# Views of the deployments.

RESOURCES = Table(
    "deployment_resources",
    METADATA,
    _uuid("deployment_id", null=True),
    *(Column(amount, BigInteger, nullable=True) for amount in AMOUNTS),
    Column("cpu_cores", Double, nullable=True),
    Column("gpu_units", Double, nullable=True),
)

REPLICAS = Table(
    "deployment_replicas",
    METADATA,
    _uuid("id", null=True),
    _uuid("deployment_id", null=True),
    _integer("slot", null=True),
    _integer("generation", null=True),
    _uuid("node_id", null=True),
    _text("status", null=True),
    _small("exact_state", null=True),
    _text("container_id", null=True),
    _instant("started_at", null=True),
    _small("health", null=True),
    _integer("restart_count", null=True),
    _text("reason", null=True),
    Column("unknown", Boolean, nullable=True),
    Column("gpu_devices", ARRAY(SmallInteger), nullable=True),
    Column("ports", ARRAY(Text), nullable=True),
)

HISTORY = Table(
    "deployment_status_history",
    METADATA,
    _uuid("deployment_id", key=True),
    _big("sequence", key=True),
    _text("old_status"),
    _small("exact_old_status"),
    _text("new_status"),
    _small("exact_new_status"),
    _instant("changed_at"),
    _text("reason"),
    _integer("touched", null=True),
)

# Nodes without what replicas take of them.
NODE_STANDINGS = Table(
    "node_standings",
    METADATA,
    _uuid("id", key=True),
    _text("node_id"),
    _text("status"),
    _small("exact_status"),
    _text("reason"),
    _flag("cordoned"),
    _flag("draining"),
    _instant("drain_deadline", null=True),
    _text("region"),
    _text("arch"),
    _text("os"),
    _flag("gpu_available"),
    _text("gpu_model"),
    _small("runtime"),
    _text("agent_version"),
    Column("details", JSONB, nullable=False),
    Column("labels", JSONB, nullable=False),
    Column("cpu_usage_percent", Double, nullable=False),
    Column("memory_usage_percent", Double, nullable=False),
    *_node_amounts("capacity", "allocatable"),
    _big("epoch"),
    _instant("connected_at"),
)

# A view of them with the last of `NODE_USE_HISTORY`.
NODES = Table(
    "nodes",
    METADATA,
    *(Column(each.name, each.type, nullable=True) for each in NODE_STANDINGS.columns),
    *_node_amounts("booked", "held", null=True),
    _integer("replicas", null=True),
)

COMMITS = Table(
    "commits",
    METADATA,
    _big("sequence", key=True),
    _text("service"),
    _text("instance"),
    _instant("appended_at"),
    Column("digest", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

TOUCHES = Table(
    "commit_touches",
    METADATA,
    Column("kind", SmallInteger, primary_key=True, autoincrement=False, nullable=False),
    _uuid("id", key=True),
    _big("position", key=True),
    _flag("counts"),
    # An array of indexes; `touches` shows each event as a row.
    Column("more", JSON, nullable=True),
)

# A view of them and of what else bears a touch, for those who ask in SQL.
EVENT_TOUCHES = Table(
    "touches",
    METADATA,
    _small("kind", null=True),
    _uuid("id", null=True),
    Column("position", BigInteger, nullable=True),
    Column("counts", Boolean, nullable=True),
)

FORMER_DEPLOYMENTS = Table(
    "former_deployments",
    METADATA,
    _uuid("deployment_id", key=True),
    _big("until_sequence", key=True),
    _text("name"),
    _text("user_id"),
    _big("cluster_id"),
    _instant("created_at"),
)

CLUSTER_HISTORY = Table(
    "cluster_history",
    METADATA,
    _big("cluster_id", key=True),
    _big("sequence", key=True),
    _text("name"),
    _big("created_position"),
    _big("organization_id"),
    Column("quota", JSON, nullable=False),
    Column("organization_quota", JSON, nullable=False),
    Column("used", JSON, nullable=False),
)

NODE_NAME_HISTORY = Table(
    "node_name_history",
    METADATA,
    _uuid("node_id", key=True),
    _big("sequence", key=True),
    _text("name"),
    _flag("removed"),
)

NODE_USE_HISTORY = Table(
    "node_use_history",
    METADATA,
    _uuid("node_id", key=True),
    _big("sequence", key=True),
    _text("booked"),
    _text("held"),
    _integer("replicas"),
    _integer("touched", null=True),
)

CHECKPOINT = Table(
    "checkpoint",
    METADATA,
    Column("only_row", Boolean, primary_key=True),
    _text("fleet"),
    _integer("generation"),
    _big("position"),
    Column("digest", LargeBinary, nullable=False),
    _integer("projection"),
)

SNAPSHOTS = Table(
    "snapshots",
    METADATA,
    _big("position", key=True),
    _integer("engine"),
    Column("structure", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)

SNAPSHOT_BLOCKS = Table(
    "snapshot_blocks",
    METADATA,
    _big("position", key=True),
    Column("number", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

LOG_TREE = Table(
    "log_tree",
    METADATA,
    Column("only_row", Boolean, primary_key=True),
    _big("size"),
    Column("frontier", LargeBinary, nullable=False),
)

TREE_NODES = Table(
    "tree_nodes",
    METADATA,
    Column("level", SmallInteger, primary_key=True, autoincrement=False, nullable=False),
    _big("number", key=True),
    Column("hash", LargeBinary, nullable=False),
)
