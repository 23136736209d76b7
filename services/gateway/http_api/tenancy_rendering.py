"""Organizations, clusters and jobs as the contract's JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fogbank.domain.cluster_status import ClusterStatus
from fogbank.domain.tenancy import ClusterFact, Quota
from fogbank.domain.views import AsOf, DeploymentView
from services.gateway.app.organizations import MemberView, OrganizationView
from services.gateway.app.ports import Invite
from services.gateway.core.jobs import priority_word
from services.gateway.http_api.rendering import deployment_standing, instant, status_word
from services.gateway.http_api.tenancy_models import DeploymentCounts


def organization(view: OrganizationView) -> dict[str, Any]:
    """Return an organization as its caller may see it."""
    content: dict[str, Any] = {"id": view.id, "name": view.name}
    if view.role is not None:
        content["role"] = view.role.name.lower()
    if view.invite_code is not None:
        content["invite_code"] = view.invite_code or None
    return content


def member(view: MemberView) -> dict[str, Any]:
    """Return a member."""
    return {
        "user_id": view.user_id,
        "username": view.username or None,
        "role": view.role.name.lower(),
    }


def invite(found: Invite) -> dict[str, Any]:
    """Return an invite code with its limits."""
    terms = found.terms
    return {
        "invite_code": found.code or None,
        "role": terms.role.name.lower(),
        "expires_at": instant(terms.expires_at_us) if terms.expires_at_us else None,
        "max_uses": terms.max_uses or None,
        "uses": found.uses,
    }


def organization_quota(organization_id: int, quota: Quota) -> dict[str, Any]:
    """Return the quota of an organization."""
    return {"organization_id": organization_id, **_limits("total", quota)}


def cluster(fact: ClusterFact) -> dict[str, Any]:
    """Return a cluster."""
    return {
        "id": fact.id,
        "name": fact.name,
        "organization_id": fact.organization_id,
        **_limits("total", fact.quota),
    }


def cluster_status(found: AsOf[ClusterStatus]) -> dict[str, Any]:
    """Return how much of a cluster is used."""
    status, use = found.value, found.value.use
    used = use.own.used
    counts: Counter[str] = Counter()
    for each, count in status.deployments.items():
        counts[status_word(each)] += count
    return {
        **cluster(use.cluster),
        "used_cpu": used.cpu_millicores,
        "used_ram": used.memory_mib,
        "used_gpu": used.gpu_thousandths,
        "used_storage": used.storage_gib,
        "used_replicas": use.own.replicas,
        **_limits("available", use.available),
        "deployments": {name: counts[name] for name in DeploymentCounts.model_fields},
        "as_of_sequence": found.as_of_sequence,
    }


def job(view: DeploymentView) -> dict[str, Any]:
    """Return a deployment as the jobs face shows it."""
    spec = view.spec
    return {
        "id": view.id,
        "cluster_id": spec.cluster_id,
        "image": spec.container_image,
        "required_cpu": spec.resources.cpu_millicores,
        "required_ram": spec.resources.memory_mib,
        "required_gpu": spec.resources.gpu_thousandths,
        "priority": priority_word(spec.priority),
        **deployment_standing(view.status),
        "created_at": instant(view.created_at_us),
    }


def _limits(prefix: str, quota: Quota) -> dict[str, int | None]:
    return {
        f"{prefix}_cpu": quota.cpu_millicores,
        f"{prefix}_ram": quota.memory_mib,
        f"{prefix}_gpu": quota.gpu_thousandths,
        f"{prefix}_storage": quota.storage_gib,
        f"{prefix}_replicas": quota.replicas,
    }
