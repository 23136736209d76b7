"""Who shares a fleet: organizations with their members, clusters, and the quotas of both."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum
from typing import NamedTuple, TypeVar

from fogbank.domain.resources import Resources
from fogbank.domain.value import row, value


class Use(NamedTuple):
    """What replicas take of a quota, amount by amount in the order of `Quota`."""

    cpu_millicores: int = 0
    memory_mib: int = 0
    storage_gib: int = 0
    gpu_thousandths: int = 0
    replicas: int = 0


@value
class Quota:
    """The most that replicas may have booked in all, in the units of `Resources`.

    None is unlimited, 0 is none at all.
    """

    cpu_millicores: int | None = None
    memory_mib: int | None = None
    storage_gib: int | None = None
    gpu_thousandths: int | None = None
    replicas: int | None = None

    @property
    def limits(self) -> tuple[int | None, ...]:
        """The limits in their order."""
        return (
            self.cpu_millicores,
            self.memory_mib,
            self.storage_gib,
            self.gpu_thousandths,
            self.replicas,
        )


UNLIMITED = Quota()


class MembershipRole(IntEnum):
    """What a member may do in an organization; numbered as in the contract."""

    OWNER = 1
    OPERATOR = 2
    VIEWER = 3


@row
class ClusterFact:
    """A cluster: an organization's share of the fleet; `created_position` tells its command."""

    id: int
    name: str
    organization_id: int
    quota: Quota
    created_position: int = 0


@row
class OrganizationFact:
    """An organization: who made it, its members by user id, its clusters and their common quota.

    Without an `owner_id` everybody belongs to it, whatever its members are. `created_position`
    tells the command that made it.
    """

    id: int
    name: str
    owner_id: str
    quota: Quota = UNLIMITED
    clusters: list[int] = field(default_factory=list)
    members: dict[str, MembershipRole] = field(default_factory=dict)
    created_position: int = 0


Made = TypeVar("Made", ClusterFact, OrganizationFact)


def made_at(made: Mapping[int, Made], position: int) -> Made:
    """Return what the command at a position made; numbers rise with positions.

    Raises:
        KeyError: it made nothing.
    """
    numbers = range(1, len(made) + 1)
    index = bisect_left(numbers, position, key=lambda number: made[number].created_position)
    found = made.get(index + 1)
    if found is None or found.created_position != position:
        raise KeyError(position)
    return found


def use_of(resources: Resources, replicas: int) -> Use:
    """Return what replicas take together, of which each takes `resources`."""
    return Use(
        resources.cpu_millicores * replicas,
        resources.memory_mib * replicas,
        resources.storage_gib * replicas,
        resources.gpu_thousandths * replicas,
        replicas,
    )
