"""Who shares a fleet: organizations with their members, clusters, and the quotas of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that replicas may have booked in all, in the units of `Resources`.

    None is unlimited, 0 is none at all.
    """

    cpu_millicores: int | None = None
    memory_mib: int | None = None
    storage_gib: int | None = None
    gpu_thousandths: int | None = None
    replicas: int | None = None


UNLIMITED = Quota()


class MembershipRole(IntEnum):
    """What a member may do in an organization; numbered as in the contract."""

    OWNER = 1
    OPERATOR = 2
    VIEWER = 3


@dataclass(slots=True)
class ClusterFact:
    """A cluster: an organization's share of the fleet."""

    id: int
    name: str
    organization_id: int
    quota: Quota


@dataclass(slots=True)
class OrganizationFact:
    """An organization: who made it, its members by user id, the quota of its clusters together.

    Without an `owner_id` everybody belongs to it, whatever its members are.
    """

    id: int
    name: str
    owner_id: str
    quota: Quota = UNLIMITED
    members: dict[str, MembershipRole] = field(default_factory=dict)
