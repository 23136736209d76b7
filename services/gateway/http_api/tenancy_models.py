"""Bodies and answers of organizations, clusters and jobs as the contract names them.

As everywhere, bounds are the core's to judge and stand here for the OpenAPI document. Amounts are
millicores, MiB and thousandths of a GPU; null stands for unlimited.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from fogbank.domain.policy_bounds import MAX_AMOUNT
from fogbank.domain.tenancy import Quota
from services.gateway.core import tenancy
from services.gateway.core.asks import MAX_IMAGE, MAX_REQUEST_ID
from services.gateway.core.jobs import JobFields
from services.gateway.http_api.answers import Answer, Degraded, Status
from services.gateway.http_api.bodies import Body, examples

Role = Literal["owner", "operator", "viewer"]
Priority = Literal["HIGH", "LOW"]

# A quota of processors or memory in this face lets at least something run.
QUOTA_WORDS = tenancy.QuotaWords(
    {
        "cpu_millicores": "total_cpu",
        "memory_mib": "total_ram",
        "storage_gib": "total_storage",
        "gpu_thousandths": "total_gpu",
        "replicas": "total_replicas",
    },
    least={"cpu_millicores": 1, "memory_mib": 1},
)


def _texts(longest: int) -> Any:
    return {"minLength": 1, "maxLength": longest}


def _amount(least: int, description: str) -> Any:
    extra: Any = {"minimum": least, "maximum": MAX_AMOUNT}
    return Field(description=description, json_schema_extra=extra)


def _optional(least: int, description: str) -> Any:
    extra: Any = {"minimum": least, "maximum": MAX_AMOUNT}
    return Field(default=None, description=description, json_schema_extra=extra)


def _request_id() -> Any:
    extra: Any = {"maxLength": MAX_REQUEST_ID}
    return Field(
        "",
        description="Makes a repeat safe: the same id gets the same answer.",
        json_schema_extra=extra,
    )


class OrganizationBody(Body):
    """An organization to make."""

    model_config = examples({"name": "org1"})

    name: str = Field(json_schema_extra=_texts(tenancy.MAX_NAME))
    request_id: str = _request_id()


class JoinBody(Body):
    """An organization to join."""

    model_config = examples({"invite_code": "XNwDkZzK6MctFq"})

    invite_code: str = Field(json_schema_extra=_texts(tenancy.MAX_INVITE_CODE))
    request_id: str = _request_id()


class InviteBody(Body):
    """The limits of a new invite code."""

    model_config = examples({"expires_in_seconds": 604800, "max_uses": 5, "role": "viewer"})

    expires_in_seconds: int | None = Field(
        default=None,
        description="How long it works; null for ever.",
        json_schema_extra={"minimum": 1, "maximum": tenancy.MAX_INVITE_S},
    )
    max_uses: int = Field(
        0,
        description="How many users may join by it; 0 for any number.",
        json_schema_extra={"minimum": 0, "maximum": tenancy.MAX_INVITE_USES},
    )
    role: Literal["operator", "viewer"] = "operator"
    request_id: str = _request_id()


class RoleBody(Body):
    """A role to give to a member."""

    model_config = examples({"role": "viewer"})

    role: Role
    request_id: str = _request_id()


class QuotaBody(Body):
    """A whole quota; what is left out or null is unlimited."""

    model_config = examples({"total_cpu": 80000, "total_ram": 16384, "total_gpu": 2000})

    total_cpu: int | None = _optional(1, "Millicores.")
    total_ram: int | None = _optional(1, "MiB.")
    total_gpu: int | None = _optional(0, "Thousandths of a GPU.")
    total_storage: int | None = _optional(0, "GiB.")
    total_replicas: int | None = _optional(0, "Replicas.")
    request_id: str = _request_id()

    def quota(self) -> Quota:
        """Return the quota."""
        return Quota(
            self.total_cpu,
            self.total_ram,
            self.total_storage,
            self.total_gpu,
            self.total_replicas,
        )


class ClusterBody(QuotaBody):
    """A cluster to make: an organization's share of the fleet."""

    model_config = examples(
        {
            "name": "cluster_high",
            "organization_id": 1,
            "total_cpu": 80000,
            "total_ram": 16384,
            "total_gpu": 2000,
        }
    )

    name: str = Field(json_schema_extra=_texts(tenancy.MAX_NAME))
    organization_id: int = Field(json_schema_extra={"minimum": 1})
    total_cpu: int | None = _amount(1, "Millicores.")
    total_ram: int | None = _amount(1, "MiB.")
    total_gpu: int | None = _amount(0, "Thousandths of a GPU.")


class JobBody(Body):
    """A deployment of one replica to make."""

    model_config = examples(
        {
            "cluster_id": 1,
            "image": "nginx11",
            "required_cpu": 20,
            "required_ram": 10,
            "required_gpu": 0,
            "priority": "HIGH",
        }
    )

    cluster_id: int = Field(json_schema_extra={"minimum": 1})
    image: str = Field(json_schema_extra=_texts(MAX_IMAGE))
    required_cpu: int = _amount(1, "Millicores, up to the cluster's total.")
    required_ram: int = _amount(1, "MiB, up to the cluster's total.")
    required_gpu: int = _amount(0, "Thousandths of a GPU, up to the cluster's total.")
    priority: Priority
    request_id: str = _request_id()

    def fields_given(self) -> JobFields:
        """Return what is asked for."""
        return JobFields(
            self.image, self.required_cpu, self.required_ram, self.required_gpu, self.priority
        )


class JobChangeBody(Body):
    """What is to change of a deployment; the rest stays."""

    model_config = examples({"required_cpu": 40, "priority": "LOW"})

    cluster_id: int | None = Field(
        default=None, description="Moves it to this cluster.", json_schema_extra={"minimum": 1}
    )
    image: str | None = Field(default=None, json_schema_extra=_texts(MAX_IMAGE))
    required_cpu: int | None = _optional(1, "Millicores, up to the cluster's total.")
    required_ram: int | None = _optional(1, "MiB, up to the cluster's total.")
    required_gpu: int | None = _optional(0, "Thousandths of a GPU, up to the cluster's total.")
    priority: Priority | None = None
    request_id: str = _request_id()

    def fields_given(self) -> JobFields:
        """Return what is asked for."""
        return JobFields(
            self.image,
            self.required_cpu,
            self.required_ram,
            self.required_gpu,
            self.priority,
            self.cluster_id,
        )


TENANCY_BODIES: tuple[type[Body], ...] = (
    OrganizationBody,
    JoinBody,
    InviteBody,
    RoleBody,
    QuotaBody,
    ClusterBody,
    JobBody,
    JobChangeBody,
)


class OrganizationAnswer(Answer):
    """An organization: strangers see its number and name, members their role."""

    model_config = examples({"id": 2, "name": "org1", "role": "owner", "invite_code": "XNwDkZ..."})

    id: int
    name: str
    role: Role = Field(default="viewer", description="The caller's, if they are a member.")
    invite_code: str | None = Field(
        default=None, description="For owners only; null when it is revoked."
    )


class MemberAnswer(Answer):
    """A member; the name is null if the account is gone."""

    user_id: UUID
    username: str | None
    role: Role


class InviteAnswer(Answer):
    """An invite code and its limits; null stands for none."""

    invite_code: str | None = Field(description="Null when it is revoked.")
    role: Literal["operator", "viewer"]
    expires_at: datetime | None
    max_uses: int | None
    uses: int


class QuotaAnswer(Answer):
    """The quota of all clusters of an organization together; null for unlimited."""

    organization_id: int
    total_cpu: int | None
    total_ram: int | None
    total_gpu: int | None
    total_storage: int | None
    total_replicas: int | None


class ClusterAnswer(Answer):
    """A cluster; null for unlimited."""

    id: int
    name: str
    organization_id: int
    total_cpu: int | None = Field(description="Millicores.")
    total_ram: int | None = Field(description="MiB.")
    total_gpu: int | None = Field(description="Thousandths of a GPU.")
    total_storage: int | None = Field(description="GiB.")
    total_replicas: int | None


class DeploymentCounts(Answer):
    """How many deployments are in each status; deleted ones don't count."""

    pending: int
    scheduled: int
    running: int
    completed: int
    failed: int


class ClusterStatusAnswer(ClusterAnswer):
    """How much of a cluster is used; what is available the organization's quota allows, too."""

    used_cpu: int
    used_ram: int
    used_gpu: int
    used_storage: int
    used_replicas: int
    available_cpu: int | None
    available_ram: int | None
    available_gpu: int | None
    available_storage: int | None
    available_replicas: int | None
    deployments: DeploymentCounts
    as_of_sequence: int = Field(description="Log sequence up to which this is true.")


class JobAnswer(Answer):
    """A deployment as this face shows it; amounts per replica."""

    id: UUID
    cluster_id: int
    image: str
    required_cpu: int = Field(description="Millicores.")
    required_ram: int = Field(description="MiB.")
    required_gpu: int = Field(description="Thousandths of a GPU.")
    priority: Literal["HIGH", "MEDIUM", "LOW"]
    status: Status
    degraded: Degraded
    created_at: datetime
