"""Organizations, clusters and quotas as plain values; amounts in cores, MiB, GiB and devices."""

from typing import Any

from fogbank.cli.enum_words import enum_word
from fogbank.cli.views import amounts, instant
from fogbank.v1 import facts_pb2, identity_service_pb2, resources_pb2

_THOUSANDTHS = 1000
_BAR = 20
# Of each limit of a quota: its name in the contract, here, and in tables; what one unit holds.
LIMITS = (
    ("cpu_millicores", "cpu_cores", "cpu", _THOUSANDTHS),
    ("memory_mib", "memory_mb", "memory MiB", 1),
    ("storage_gib", "storage_gb", "storage GiB", 1),
    ("gpu_thousandths", "gpu_units", "gpu", _THOUSANDTHS),
    ("replicas", "replicas", "replicas", 1),
)


def role_word(number: int) -> str | None:
    """Return a role; None for no member."""
    if not number:
        return None
    return enum_word(facts_pb2.MembershipRole, number, "MEMBERSHIP_ROLE_")


def quota_row(quota: resources_pb2.Quota) -> dict[str, float | int | None]:
    """Return a quota's limits; None is unlimited."""
    limits = {field.name: limit for field, limit in quota.ListFields()}
    return {
        here: _scaled(limits[name], unit) if name in limits else None
        for name, here, _heading, unit in LIMITS
    }


def _scaled(value: int, unit: int) -> float | int:
    whole, rest = divmod(value, unit)
    return value / unit if rest else whole


def organization_row(organization: identity_service_pb2.Organization) -> dict[str, Any]:
    """Return an organization; a role and a quota for members, a code for owners."""
    role = role_word(organization.role)
    row: dict[str, Any] = {"id": organization.id, "name": organization.name, "role": role}
    if organization.invite_code:
        row["invite_code"] = organization.invite_code
    if role is not None and organization.HasField("quota"):
        row["quota"] = quota_row(organization.quota)
    return row


def member_row(member: identity_service_pb2.Member) -> dict[str, Any]:
    """Return a member of an organization."""
    return {
        "user_id": member.user_id,
        "username": member.username or None,
        "role": role_word(member.role),
    }


def invite_row(invite: identity_service_pb2.InviteCode) -> dict[str, Any]:
    """Return an invite code with its limits."""
    return {
        "invite_code": invite.code or None,
        "role": role_word(invite.role),
        "expires_at": instant(invite.expires_at),
        "max_uses": invite.max_uses or None,
        "uses": invite.uses,
    }


def cluster_row(cluster: identity_service_pb2.Cluster) -> dict[str, Any]:
    """Return a cluster."""
    return {
        "id": cluster.id,
        "name": cluster.name,
        "organization_id": cluster.organization_id,
        "total": quota_row(cluster.total),
    }


def cluster_status_row(status: identity_service_pb2.GetClusterStatusResponse) -> dict[str, Any]:
    """Return how much of a cluster is used; what is available its organization has, too."""
    return {
        **cluster_row(status.cluster),
        "used": {**amounts(status.used), "replicas": status.used_replicas},
        "available": quota_row(status.available),
        "deployments": dict(sorted(status.deployments.items())),
        "as_of_sequence": status.as_of_sequence,
    }


def use_rows(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a table of what `cluster_status_row` says: a line with a bar for each limit."""
    rows = []
    for _name, here, heading, _unit in LIMITS:
        used, total = status["used"][here], status["total"][here]
        available = status["available"][here]
        rows.append(
            {
                "what": heading,
                "used": used,
                "total": "unlimited" if total is None else total,
                "available": "unlimited" if available is None else available,
                "share": bar(used, total),
            }
        )
    return rows


def bar(used: float, total: float | None) -> str:
    """Return a bar with a percentage; nothing where there is no limit."""
    if total is None:
        return ""
    share = used / total if total else float(used > 0)
    filled = min(_BAR, round(share * _BAR))
    return f"{'█' * filled}{'░' * (_BAR - filled)} {share * 100:.0f} %"
