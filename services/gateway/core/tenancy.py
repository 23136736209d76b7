"""Organizations and clusters: who may do what, what may be asked for, and the events of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fogbank.domain import events as ev
from fogbank.domain.envelope import CommandTerms, EventEnvelope
from fogbank.domain.errors import (
    FieldViolation,
    FogError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from fogbank.domain.ids import command_event_id
from fogbank.domain.policy_bounds import MAX_AMOUNT
from fogbank.domain.tenancy import MembershipRole, OrganizationFact, Quota
from services.gateway.core.bounds import shown_number
from services.gateway.core.commands import content_digest

CREATE_ORGANIZATION = "CreateOrganization"
JOIN_ORGANIZATION = "JoinOrganization"
SET_MEMBER_ROLE = "SetMemberRole"
REMOVE_MEMBER = "RemoveMember"
RENEW_INVITE_CODE = "RenewInviteCode"
REVOKE_INVITE_CODE = "RevokeInviteCode"
SET_ORGANIZATION_QUOTA = "SetOrganizationQuota"
CREATE_CLUSTER = "CreateCluster"
SET_CLUSTER_QUOTA = "SetClusterQuota"

MAX_NAME = 100
MAX_INVITE_CODE = 64
MAX_INVITE_USES = 1_000_000
MAX_INVITE_S = 366 * 24 * 3600
TenancyEvent = (
    ev.OrganizationCreated
    | ev.OrganizationQuotaSet
    | ev.MembershipSet
    | ev.ClusterCreated
    | ev.ClusterQuotaSet
)
# Roles that an invite code may give: who invites keeps being asked before somebody owns.
INVITED_ROLES = (MembershipRole.OPERATOR, MembershipRole.VIEWER)


@dataclass(frozen=True, slots=True)
class QuotaWords:
    """How a face calls each limit of a quota, and the least that it takes where that isn't 0."""

    names: Mapping[str, str]
    least: Mapping[str, int] = field(default_factory=dict)


def role_of(organization: OrganizationFact, user_id: str) -> MembershipRole | None:
    """Return a user's role in an organization, None for a stranger.

    In one without an owner everybody is an operator, unless made an owner.
    """
    role = organization.members.get(user_id)
    if not organization.owner_id and role is not MembershipRole.OWNER:
        return MembershipRole.OPERATOR
    return role


def check_role(role: MembershipRole | None, least: MembershipRole, stranger: FogError) -> None:
    """Raise `stranger` for somebody without a role, PermissionDeniedError for too small a one."""
    if role is None:
        raise stranger
    if role > least:  # numbered from the most down
        wanted = " or ".join(each.name.lower() for each in MembershipRole if each <= least)
        raise PermissionDeniedError(
            f"This takes the role {wanted} in the organization, yours is {role.name.lower()}",
            reason="ROLE_LACKING",
        )


def check_name(name: str) -> str:
    """Return an organization's or cluster's name; InvalidArgumentError unless it is one."""
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidArgumentError.of_field(
            "name", f"must be 1 to {MAX_NAME} characters, got {len(name)}"
        )
    if not name.isprintable() or name != name.strip():
        raise InvalidArgumentError.of_field(
            "name", f"must be printable and not begin or end with a space, got {name!r}"
        )
    return name


def check_quota(quota: Quota, words: QuotaWords) -> None:
    """Raise InvalidArgumentError that names each limit out of bounds as the face calls it."""
    violations = tuple(
        FieldViolation(
            words.names[name],
            f"must be between {least} and {MAX_AMOUNT}, got {shown_number(limit)}",
        )
        for name, limit in quota_content(quota).items()
        if not (least := words.least.get(name, 0)) <= limit <= MAX_AMOUNT
    )
    if violations:
        text = "; ".join(f"{wrong.field}: {wrong.description}" for wrong in violations)
        raise InvalidArgumentError(text, violations=violations)


def check_invite_code(code: str) -> None:
    """Raise InvalidArgumentError for what can't be an invite code; it is not repeated."""
    if not 1 <= len(code) <= MAX_INVITE_CODE:
        raise InvalidArgumentError.of_field(
            "invite_code", f"must be 1 to {MAX_INVITE_CODE} characters, got {len(code)}"
        )


def check_invite_terms(lifetime_s: float | None, max_uses: int, role: MembershipRole) -> None:
    """Raise InvalidArgumentError unless an invite code may have these limits and give this role."""
    if lifetime_s is not None and not 1 <= lifetime_s <= MAX_INVITE_S:
        raise InvalidArgumentError.of_field(
            "expires_in",
            f"must be between 1 and {MAX_INVITE_S} s, got {shown_number(lifetime_s)} s",
        )
    if not 0 <= max_uses <= MAX_INVITE_USES:
        raise InvalidArgumentError.of_field(
            "max_uses", f"must be between 0 and {MAX_INVITE_USES}, got {shown_number(max_uses)}"
        )
    if role not in INVITED_ROLES:
        names = [each.name.lower() for each in INVITED_ROLES]
        raise InvalidArgumentError.of_field(
            "role", f"must be one of {names}, got {role.name.lower()}"
        )


def quota_content(quota: Quota) -> dict[str, int]:
    """Return a quota's limits by name, in the form in which a command's content is digested."""
    return {name: limit for name, limit in asdict(quota).items() if limit is not None}


def envelope(
    user_id: str,
    method: str,
    request_id: str,
    event: TenancyEvent,
    *,
    content: Mapping[str, Any],
    now_us: int,
) -> EventEnvelope:
    """Return the event of a command; `content` is what the caller asked for."""
    event_id = command_event_id(user_id, method, request_id)
    return EventEnvelope(
        event_id,
        event,
        aggregate=_aggregate(event, event_id),
        actor=f"user/{user_id}",
        occurred_at_us=now_us,
        correlation_id=event_id,
        command=CommandTerms(content_digest(method, content)),
    )


def _aggregate(event: TenancyEvent, event_id: str) -> str:
    match event:
        case ev.OrganizationCreated():
            return f"organization/{event_id}"  # its number is the fold's to give
        case ev.ClusterCreated():
            return f"cluster/{event_id}"
        case ev.ClusterQuotaSet():
            return f"cluster/{event.cluster_id}"
        case ev.OrganizationQuotaSet() | ev.MembershipSet():
            return f"organization/{event.organization_id}"


def invite_not_found() -> NotFoundError:
    """Return the error for a code that lets nobody in, for whatever reason."""
    return NotFoundError(
        "No organization has this invite code, or it works no more; ask an owner for another",
        reason="INVITE_NOT_FOUND",
    )
