"""Organizations: making and joining them, their members, invite codes and quotas."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import uuid4

import structlog

from fogbank.domain import events as ev
from fogbank.domain.errors import InvalidArgumentError, NotFoundError, UnavailableError
from fogbank.domain.tenancy import MembershipRole, OrganizationFact, Quota, made_at
from fogbank.domain.views import Page
from fogbank.runtime.clock import Clock
from services.gateway.app.command_log import CommandLog
from services.gateway.app.fold import FleetFold
from services.gateway.app.identity import Users, name_key
from services.gateway.app.ports import Invite, Invites, InviteTerms, OrganizationKey
from services.gateway.app.principal import Principal
from services.gateway.app.rights import Rights, own_role
from services.gateway.app.tenancy_commands import TenancyCommands
from services.gateway.core import tenancy as core
from services.gateway.core.asks import check_request_id

_log = structlog.get_logger(__name__)

_OWNER = MembershipRole.OWNER
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class OrganizationView:
    """An organization as a caller may see it.

    `role` is the caller's as a member, None for a stranger; `invite_code` is for owners only, and
    empty when it is revoked; a stranger sees no quota.
    """

    id: int
    name: str
    role: MembershipRole | None
    quota: Quota | None = None
    invite_code: str | None = None


@dataclass(frozen=True, slots=True)
class MemberView:
    """A member; the name is empty if the account is gone."""

    user_id: str
    username: str
    role: MembershipRole


class Organizations:
    """The use cases of organizations, for all faces.

    Commands are answered when the log holds them and this gateway's fold has judged them; a repeat
    of a request id by the same user with the same content gets the first one's answer. Strangers
    get NotFoundError, members without the role PermissionDeniedError. All raise UnavailableError
    when the log is down, or the database of accounts and invite codes.
    """

    def __init__(
        self, fold: FleetFold, command_log: CommandLog, users: Users, invites: Invites, clock: Clock
    ) -> None:
        self._fold = fold
        self._commands = command_log
        self._users = users
        self._invites = invites
        self._clock = clock
        self._rights = Rights(fold, command_log)
        self._tenancy = TenancyCommands(command_log, clock)

    # --- making and joining -------------------------------------------------------------------

    async def create(
        self, principal: Principal, name: str, request_id: str = ""
    ) -> OrganizationView:
        """Make an organization; the caller becomes its owner.

        Raises:
            InvalidArgumentError: the name or the request id is no good.
            AlreadyExistsError: the request id was used with another content.
        """
        core.check_name(name)

        async def made() -> ev.OrganizationCreated:
            return ev.OrganizationCreated(name, principal.user_id)

        position = await self._tenancy.submit(
            principal, core.CREATE_ORGANIZATION, request_id, {"name": name}, made
        )
        organization = made_at(self._fold.fleet.facts.organizations, position)
        _log.info("organization made", organization=organization.id, name=name)
        try:
            await self._invites.made(_key(organization))
            return (await self._views(principal, [organization]))[0]
        except UnavailableError as error:
            raise UnavailableError(
                f"Organization {organization.id} was made, but its invite code can't be kept: "
                "repeat with the same request id, or renew the code later",
                reason=error.reason,
                retry_after_ms=error.retry_after_ms,
            ) from error

    async def join(self, principal: Principal, code: str, request_id: str = "") -> OrganizationView:
        """Join the organization that an invite code leads to; a member stays what they are.

        Raises:
            NotFoundError: the code is unknown, replaced, expired or used up.
            AlreadyExistsError: the request id was used with another code.
        """
        core.check_invite_code(code)
        invited = await self._invites.find(code, self._clock.now_us())
        if invited is not None and self._is_member(principal.user_id, invited.organization):
            organization = self._fold.fleet.facts.organizations[invited.organization.id]
            return (await self._views(principal, [organization]))[0]

        async def membership() -> ev.MembershipSet:
            used = await self._invites.redeem(code, principal.user_id, self._clock.now_us())
            if used is None or not await self._is_of_this_log(used.organization):
                raise core.invite_not_found()
            return ev.MembershipSet(used.organization.id, principal.user_id, used.role)

        content = {"invite": self._invites.mark(code)}
        position = await self._tenancy.submit(
            principal, core.JOIN_ORGANIZATION, request_id, content, membership
        )
        joined = await self._membership_at(position)
        organization = self._fold.fleet.facts.organizations[joined.organization_id]
        return (await self._views(principal, [organization]))[0]

    def _is_member(self, user_id: str, key: OrganizationKey) -> bool:
        organization = self._fold.fleet.facts.organizations.get(key.id)
        return (
            organization is not None
            and organization.owner_id == key.owner_id
            and user_id in organization.members
        )

    async def _is_of_this_log(self, key: OrganizationKey) -> bool:
        facts = self._fold.fleet.facts
        if key.id not in facts.organizations:
            await self._commands.catch_up()
        organization = facts.organizations.get(key.id)
        return organization is not None and organization.owner_id == key.owner_id

    async def _membership_at(self, position: int) -> ev.MembershipSet:
        """Return what a command on a membership came to, which its repeat gets as well."""
        event = await self._commands.event_at(position)
        if not isinstance(event, ev.MembershipSet):
            message = f"the event at {position} is no membership: {event}"
            raise TypeError(message)
        return event

    # --- looking ------------------------------------------------------------------------------

    async def list(
        self, principal: Principal, limit: int, offset: int = 0
    ) -> Page[OrganizationView]:
        """List all organizations by number."""
        organizations = list(self._fold.fleet.facts.organizations.values())
        page = organizations[offset : offset + limit]
        return Page(await self._views(principal, page), len(organizations))

    async def mine(self, principal: Principal) -> tuple[OrganizationView, ...]:
        """List the caller's organizations by number; that of everybody is among them."""
        own = [
            organization
            for organization in self._fold.fleet.facts.organizations.values()
            if own_role(principal, organization) is not None
        ]
        return await self._views(principal, own)

    async def members(self, principal: Principal, organization_id: int) -> tuple[MemberView, ...]:
        """List an organization's members, for members: owners first, then by name."""
        organization = await self._rights.organization(principal, organization_id)
        names = await self._users.names(organization.members.keys())
        views = [
            MemberView(user_id, names.get(user_id, ""), role)
            for user_id, role in organization.members.items()
        ]
        return tuple(sorted(views, key=lambda view: (view.role, view.username, view.user_id)))

    async def user_names(self, principal: Principal, user_ids: Collection[str]) -> dict[str, str]:
        """Return the names of users, by id: to administrators everybody's, to others their own.

        Those that can't be read now are left out: ids do without.
        """
        wanted = {each for each in user_ids if principal.sees_all or each == principal.user_id}
        if not wanted:
            return {}
        try:
            return await self._users.names(wanted)
        except UnavailableError:
            return {}

    async def belongs_to_everybody(self, principal: Principal, organization_id: int) -> bool:
        """Tell whether everybody is a member of an organization, listed or not."""
        return not (await self._rights.organization(principal, organization_id)).owner_id

    async def _views(
        self, principal: Principal, organizations: Sequence[OrganizationFact]
    ) -> tuple[OrganizationView, ...]:
        roles = [own_role(principal, each) for each in organizations]
        owned = [
            _key(organization)
            for organization, role in zip(organizations, roles, strict=True)
            if role is _OWNER and organization.owner_id
        ]
        invites = await self._invites.of(owned) if owned else {}
        return tuple(
            OrganizationView(
                organization.id,
                organization.name,
                role,
                organization.quota if role is not None or principal.is_admin else None,
                invites[organization.id].code if organization.id in invites else None,
            )
            for organization, role in zip(organizations, roles, strict=True)
        )

    # --- members ------------------------------------------------------------------------------

    async def set_role(
        self,
        principal: Principal,
        organization_id: int,
        user: str,
        role: MembershipRole,
        request_id: str = "",
    ) -> MemberView:
        """Give a member, by id or name, another role; owners only.

        Raises:
            NotFoundError: no such organization or member.
            FailedPreconditionError: nobody would own the organization.
        """

        async def membership() -> ev.MembershipSet:
            organization = await self._rights.organization(principal, organization_id, _OWNER)
            user_id = await self._member(organization, user)
            return ev.MembershipSet(organization_id, user_id, role)

        content = {"organization_id": organization_id, "user": user, "role": role.value}
        position = await self._tenancy.submit(
            principal, core.SET_MEMBER_ROLE, request_id, content, membership
        )
        settled = await self._membership_at(position)
        names = await self._users.names([settled.user_id])
        return MemberView(settled.user_id, names.get(settled.user_id, ""), role)

    async def remove_member(
        self, principal: Principal, organization_id: int, user: str = "", request_id: str = ""
    ) -> None:
        """Remove a member, by id or name, without one the caller; of others owners only.

        A member who is removed by somebody else knows the invite code, so that it is replaced.

        Raises: as `set_role`.
        """

        async def membership() -> ev.MembershipSet:
            organization = await self._rights.organization(principal, organization_id)
            user_id = await self._member(organization, user or principal.user_id)
            if user_id != principal.user_id:
                await self._rights.organization(principal, organization_id, _OWNER)
                await self._replace_invite(organization)
            return ev.MembershipSet(organization_id, user_id)

        content = {"organization_id": organization_id, "user": user}
        await self._tenancy.submit(principal, core.REMOVE_MEMBER, request_id, content, membership)

    async def _replace_invite(self, organization: OrganizationFact) -> None:
        if not organization.owner_id:
            return
        key = _key(organization)
        invite = (await self._invites.of([key])).get(organization.id)
        if invite is not None and invite.code:
            await self._invites.renew(key, invite.terms, f"{core.REMOVE_MEMBER}/{uuid4()}")

    async def _member(self, organization: OrganizationFact, user: str) -> str:
        """Return the id of a member given by id or name."""
        if not user:
            raise InvalidArgumentError.of_field("user", "must be a member's id or name")
        if user.lower() in organization.members:
            return user.lower()
        names = await self._users.names(organization.members.keys())
        wanted = name_key(user)
        for user_id, name in names.items():
            if name_key(name) == wanted:
                return user_id
        raise NotFoundError.of("member", user)

    # --- invite codes -------------------------------------------------------------------------

    async def invite(self, principal: Principal, organization_id: int) -> Invite:
        """Show an organization's invite code; owners only. Where there is none, it is empty."""
        key = await self._inviting(principal, organization_id)
        return (await self._invites.of([key])).get(organization_id, Invite(""))

    async def renew_invite(
        self,
        principal: Principal,
        organization_id: int,
        *,
        lifetime_s: float | None = None,
        max_uses: int = 0,
        role: MembershipRole = MembershipRole.OPERATOR,
        request_id: str = "",
    ) -> Invite:
        """Replace an organization's invite code; the former works no more. Owners only.

        Without `lifetime_s` it works for ever, with `max_uses` 0 for any number of users.
        """
        core.check_invite_terms(lifetime_s, max_uses, role)
        expires_at_us = 0
        if lifetime_s is not None:
            expires_at_us = self._clock.now_us() + round(lifetime_s * _SECOND_US)
        return await self._renew(
            principal,
            organization_id,
            InviteTerms(role, expires_at_us, max_uses),
            core.RENEW_INVITE_CODE,
            request_id,
        )

    async def revoke_invite(
        self, principal: Principal, organization_id: int, request_id: str = ""
    ) -> None:
        """Let nobody join by invite code until there is another; owners only."""
        await self._renew(principal, organization_id, None, core.REVOKE_INVITE_CODE, request_id)

    async def _renew(
        self,
        principal: Principal,
        organization_id: int,
        terms: InviteTerms | None,
        method: str,
        request_id: str,
    ) -> Invite:
        check_request_id(request_id)
        key = await self._inviting(principal, organization_id)
        request = f"{principal.user_id}/{method}/{request_id or uuid4()}"
        return await self._invites.renew(key, terms, request)

    async def _inviting(self, principal: Principal, organization_id: int) -> OrganizationKey:
        organization = await self._rights.organization(principal, organization_id, _OWNER)
        if not organization.owner_id:
            raise InvalidArgumentError.of_field(
                "organization_id", f"{organization_id} belongs to everybody; nobody need join it"
            )
        return _key(organization)

    # --- quota --------------------------------------------------------------------------------

    async def quota(self, principal: Principal, organization_id: int) -> Quota:
        """Return the common quota of an organization's clusters, to members."""
        return (await self._rights.organization(principal, organization_id)).quota

    async def set_quota(
        self,
        principal: Principal,
        organization_id: int,
        quota: Quota,
        *,
        words: core.QuotaWords,
        request_id: str = "",
    ) -> OrganizationView:
        """Give all clusters of an organization together another quota; administrators only.

        `words` are the face's, for what is said of a wrong limit.
        """
        principal.require_admin()
        core.check_quota(quota, words)

        async def changed() -> ev.OrganizationQuotaSet:
            await self._rights.organization(principal, organization_id)
            return ev.OrganizationQuotaSet(organization_id, quota)

        content = {"organization_id": organization_id, "quota": core.quota_content(quota)}
        await self._tenancy.submit(
            principal, core.SET_ORGANIZATION_QUOTA, request_id, content, changed
        )
        organization = self._fold.fleet.facts.organizations[organization_id]
        return (await self._views(principal, [organization]))[0]


def _key(organization: OrganizationFact) -> OrganizationKey:
    return OrganizationKey(organization.id, organization.owner_id)
