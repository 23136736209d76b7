"""Messages of organizations, and back."""

from __future__ import annotations

from dataclasses import fields

from fogbank.codec.tenancy import quota_to_pb
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.tenancy import MembershipRole, Quota
from fogbank.v1 import facts_pb2
from fogbank.v1 import identity_service_pb2 as pb
from services.gateway.app.organizations import MemberView, OrganizationView
from services.gateway.app.ports import Invite
from services.gateway.core.tenancy import QuotaWords


def _words(field: str) -> QuotaWords:
    return QuotaWords({limit.name: f"{field}.{limit.name}" for limit in fields(Quota)})


# The path of each limit in the requests of clusters, and in those of organizations.
CLUSTER_QUOTA = _words("total")
ORGANIZATION_QUOTA = _words("quota")


def role_of(number: int, default: MembershipRole | None = None) -> MembershipRole:
    """Return a role; InvalidArgumentError for a number that is none, and for none given."""
    if not number and default is not None:
        return default
    try:
        return MembershipRole(number)
    except ValueError:
        names = [member.name for member in MembershipRole]
        raise InvalidArgumentError.of_field(
            "role", f"must be one of {names}, got {number}"
        ) from None


def _role_to_pb(role: MembershipRole | None) -> facts_pb2.MembershipRole.ValueType:
    return facts_pb2.MembershipRole.ValueType(role or 0)


def organization_to_pb(view: OrganizationView) -> pb.Organization:
    """Return an organization as its caller may see it."""
    return pb.Organization(
        id=view.id,
        name=view.name,
        invite_code=view.invite_code or "",
        role=_role_to_pb(view.role),
        quota=quota_to_pb(view.quota) if view.quota is not None else None,
    )


def member_to_pb(view: MemberView) -> pb.Member:
    """Return a member."""
    return pb.Member(user_id=view.user_id, username=view.username, role=_role_to_pb(view.role))


def invite_to_pb(invite: Invite) -> pb.InviteCode:
    """Return an invite code with its limits."""
    message = pb.InviteCode(
        code=invite.code,
        role=_role_to_pb(invite.terms.role),
        max_uses=invite.terms.max_uses,
        uses=invite.uses,
    )
    if invite.terms.expires_at_us:
        message.expires_at.FromMicroseconds(invite.terms.expires_at_us)
    return message
