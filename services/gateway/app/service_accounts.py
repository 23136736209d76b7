"""Service accounts of organizations: programs that act by tokens, within what those are for.

Ordinary data of the gateway's own database, as users are: the log has only what the accounts do.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import uuid4

import structlog

from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.tenancy import MembershipRole, OrganizationFact
from fogbank.runtime.clock import Clock
from services.gateway.app.identity import TOKEN_PREFIX, Denials
from services.gateway.app.ports import OrganizationKey
from services.gateway.app.principal import Principal
from services.gateway.app.rights import Rights
from services.gateway.core import service_accounts as core
from services.gateway.core.asks import check_request_id
from services.gateway.core.service_accounts import Scope
from services.gateway.core.tenancy import check_name

_log = structlog.get_logger(__name__)

_SECRET_BYTES = 32
_SECOND_US = 1_000_000
# A gateway that knows a token asks for it again well within this.
DENIED_FOR_US = 3600 * _SECOND_US


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token without its secret; instants in microseconds since 1970, 0 for never.

    `last_used_at_us` is true to a minute or so.
    """

    id: str
    account_id: str
    account: str
    organization: OrganizationKey
    scopes: frozenset[Scope]
    created_by: str
    created_at_us: int
    expires_at_us: int
    last_used_at_us: int = 0
    revoked_at_us: int = 0


class ApiTokens(Protocol):
    """Where tokens and their service accounts are kept; of secrets only digests.

    Methods raise UnavailableError when it is out of reach.
    """

    async def add(self, token: ApiToken, digest: bytes, request: str) -> ApiToken:
        """Keep a token of the service account that has this name, made if there is none.

        Raises:
            AlreadyExistsError: the same `request` made one before.
            ResourceExhaustedError: the organization has too many.
        """
        ...

    async def of(self, organization: OrganizationKey) -> list[ApiToken]:
        """Return an organization's tokens, the last made first."""
        ...

    async def revoke(self, token_id: str, now_us: int) -> None:
        """Let a token work no more."""
        ...


class ServiceAccounts:
    """The use cases, for owners of organizations and for administrators.

    Strangers get NotFoundError, members without the role PermissionDeniedError. All raise
    UnavailableError when the log is down, or the database of accounts.
    """

    def __init__(self, tokens: ApiTokens, denials: Denials, rights: Rights, clock: Clock) -> None:
        self._tokens = tokens
        self._denials = denials
        self._rights = rights
        self._clock = clock

    async def create(
        self,
        principal: Principal,
        organization_id: int,
        name: str,
        scopes: Iterable[str],
        *,
        lifetime_s: float | None = None,
        request_id: str = "",
    ) -> tuple[str, ApiToken]:
        """Make a token of a service account, and the account unless there is one of the name.

        Return the token, which is kept nowhere, and what is kept of it.

        Raises:
            InvalidArgumentError: the name, a scope, the lifetime or the request id is no good.
            PermissionDeniedError: a scope reaches further than the caller.
            AlreadyExistsError: the request id was used; the token isn't shown a second time.
        """
        check_name(name)
        wanted = core.check_scopes(scopes)
        lifetime_us = round(core.check_lifetime(lifetime_s) * _SECOND_US)
        check_request_id(request_id)
        organization = await self._owned(principal, organization_id)
        if wanted & core.OF_THE_FLEET:
            principal.require_admin()
        secret = TOKEN_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        now_us = self._clock.now_us()
        made = ApiToken(
            str(uuid4()),
            str(uuid4()),
            name,
            _key(organization),
            wanted,
            principal.user_id,
            now_us,
            now_us + lifetime_us,
        )
        request = f"{principal.user_id}/{organization_id}/{request_id or uuid4()}"
        kept = await self._tokens.add(made, digest_of(secret), request)
        _log.info("token made", token=kept.id, account=kept.account_id, by=principal.user_id)
        return secret, kept

    async def list(self, principal: Principal, organization_id: int) -> list[ApiToken]:
        """List an organization's tokens, also those that work no more; the last made first."""
        return await self._tokens.of(_key(await self._owned(principal, organization_id)))

    async def revoke(self, principal: Principal, organization_id: int, token_id: str) -> ApiToken:
        """Let a token, given by its id or the beginning of it, work no more at any gateway.

        Raises:
            NotFoundError: the organization has no such token.
            InvalidArgumentError: several ids begin like this.
        """
        organization = await self._owned(principal, organization_id)
        found = [
            each
            for each in await self._tokens.of(_key(organization))
            if token_id and each.id.startswith(token_id.lower())
        ]
        if not found:
            raise core.token_not_found()
        if len(found) > 1:
            raise InvalidArgumentError.of_field(
                "token_id", f"must be the beginning of one token's id, {len(found)} begin like this"
            )
        (token,) = found
        now_us = self._clock.now_us()
        if not token.revoked_at_us:
            await self._tokens.revoke(token.id, now_us)
            token = replace(token, revoked_at_us=now_us)
            _log.info("token revoked", token=token.id, by=principal.user_id)
        # Also where it was revoked before: whoever repeats may not know whether all have heard.
        await self._denials.deny([token.id], now_us + DENIED_FOR_US)
        return token

    async def _owned(self, principal: Principal, organization_id: int) -> OrganizationFact:
        return await self._rights.organization(principal, organization_id, MembershipRole.OWNER)


def digest_of(token: str) -> bytes:
    """Return what stands for a token where it is kept: it is random enough for a plain digest."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _key(organization: OrganizationFact) -> OrganizationKey:
    return OrganizationKey(organization.id, organization.owner_id)
