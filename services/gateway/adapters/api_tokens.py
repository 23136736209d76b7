"""Service accounts and the digests of their tokens in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fogbank.domain.errors import ResourceExhaustedError, UnauthenticatedError
from services.gateway.adapters.database import (
    api_tokens,
    instant,
    microseconds,
    service_accounts,
    transaction,
)
from services.gateway.app.ports import OrganizationKey
from services.gateway.app.principal import Principal, Service
from services.gateway.app.service_accounts import ApiToken, digest_of
from services.gateway.core.service_accounts import ENDED_SHOWN_S, MAX_TOKENS, Scope, shown_already

_SECOND_US = 1_000_000
# How long a gateway takes a token that it has looked up for good without looking again. What is
# revoked meanwhile is told to it as a denial.
_KNOWN_FOR_US = 30 * _SECOND_US
_USE_NOTED_US = 60 * _SECOND_US
# How long one that counts for nothing is refused without looking.
_REFUSED_FOR_US = 5 * _SECOND_US
_REMEMBERED = 10_000

_JOINED = select(
    api_tokens,
    service_accounts.c.organization_id,
    service_accounts.c.owner_id,
    service_accounts.c.name,
).join(service_accounts, service_accounts.c.id == api_tokens.c.account_id)


class PostgresApiTokens:
    """The tables, and the tokens that were used here just now."""

    def __init__(self, engine: AsyncEngine, clock_us: Callable[[], int]) -> None:
        self._engine = engine
        self._clock_us = clock_us
        # By digest: whose it was when it was looked up, and until when nobody asks again.
        self._known: dict[bytes, tuple[Principal, int]] = {}
        # Apart from those, or a flood of nonsense would push them out.
        self._refused: dict[bytes, int] = {}

    def knows(self, token: str) -> bool:
        """Tell whether a token was good when it was last looked up here."""
        return digest_of(token) in self._known

    async def read(self, token: str) -> Principal:
        """Return whose token it is; UnauthenticatedError if it doesn't count (any more).

        Raises:
            UnavailableError: it isn't known here, and the database is out of reach.
        """
        digest, now_us = digest_of(token), self._clock_us()
        known = self._known.get(digest)
        if known is not None and now_us < known[1]:
            return known[0]
        if now_us < self._refused.get(digest, 0):
            raise UnauthenticatedError("Not authenticated")
        async with transaction(self._engine) as connection:
            statement = _JOINED.where(api_tokens.c.token_digest == digest)
            row = (await connection.execute(statement)).first()
            if row is None or row.revoked_at is not None or row.expires_at <= instant(now_us):
                self._known.pop(digest, None)
                self._refuse(digest, now_us + _REFUSED_FOR_US)
                raise UnauthenticatedError("Not authenticated")
            await _note_use(connection, row.id, now_us)
        found = _token(row)
        service = Service(found.organization, found.scopes)
        principal = Principal(
            found.account_id, token_id=found.id, service=service, ends_at_us=found.expires_at_us
        )
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[digest] = (principal, min(now_us + _KNOWN_FOR_US, found.expires_at_us))
        return principal

    def _refuse(self, digest: bytes, until_us: int) -> None:
        if len(self._refused) >= _REMEMBERED:
            self._refused.clear()
        self._refused[digest] = until_us

    async def add(self, token: ApiToken, digest: bytes, request: str) -> ApiToken:
        """Keep a token and, if it is new, its service account."""
        self._refused.pop(digest, None)
        async with transaction(self._engine) as connection:
            made_before = select(api_tokens.c.id).where(api_tokens.c.request == request)
            account = await self._account(connection, token)
            known = (await connection.execute(made_before)).scalar_one_or_none()
            if known is not None:
                raise shown_already(known)
            await self._check_room(connection, token)
            await _drop_long_ended(connection, token)
            await connection.execute(
                upsert(api_tokens).values(
                    id=token.id,
                    account_id=account.id,
                    token_digest=digest,
                    scopes=",".join(sorted(token.scopes)),
                    created_by=token.created_by,
                    created_at=instant(token.created_at_us),
                    expires_at=instant(token.expires_at_us),
                    request=request,
                )
            )
            row = (await connection.execute(_JOINED.where(api_tokens.c.id == token.id))).one()
        return _token(row)

    async def of(self, organization: OrganizationKey) -> list[ApiToken]:
        """Return an organization's tokens, the last made first."""
        statement = _JOINED.where(*_of(organization)).order_by(
            api_tokens.c.created_at.desc(), api_tokens.c.id
        )
        async with transaction(self._engine) as connection:
            return [_token(row) for row in (await connection.execute(statement)).all()]

    async def revoke(self, token_id: str, now_us: int) -> None:
        """Mark a token as revoked, unless it is."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(api_tokens)
                .where(api_tokens.c.id == token_id, api_tokens.c.revoked_at.is_(None))
                .values(revoked_at=instant(now_us))
            )

    async def _account(self, connection: AsyncConnection, token: ApiToken) -> Row[Any]:
        """Return the token's account, ours alone until the transaction ends."""
        await connection.execute(
            upsert(service_accounts)
            .values(
                id=token.account_id,
                organization_id=token.organization.id,
                owner_id=token.organization.owner_id,
                name=token.account,
            )
            .on_conflict_do_nothing()
        )
        statement = select(service_accounts.c.id).where(
            *_of(token.organization), service_accounts.c.name == token.account
        )
        return (await connection.execute(statement.with_for_update())).one()

    async def _check_room(self, connection: AsyncConnection, token: ApiToken) -> None:
        working = (
            select(func.count())
            .select_from(api_tokens)
            .join(service_accounts, service_accounts.c.id == api_tokens.c.account_id)
            .where(
                *_of(token.organization),
                api_tokens.c.revoked_at.is_(None),
                api_tokens.c.expires_at > instant(token.created_at_us),
            )
        )
        if (await connection.execute(working)).scalar_one() >= MAX_TOKENS:
            raise ResourceExhaustedError(
                f"The organization has {MAX_TOKENS} tokens that work: revoke some",
                reason="TOO_MANY_TOKENS",
            )


async def _drop_long_ended(connection: AsyncConnection, token: ApiToken) -> None:
    """Forget tokens of the new one's organization that nobody looks for any more."""
    long_ago = instant(token.created_at_us - ENDED_SHOWN_S * _SECOND_US)
    accounts = select(service_accounts.c.id).where(*_of(token.organization))
    await connection.execute(
        delete(api_tokens).where(
            api_tokens.c.account_id.in_(accounts),
            or_(api_tokens.c.expires_at < long_ago, api_tokens.c.revoked_at < long_ago),
        )
    )


async def _note_use(connection: AsyncConnection, token_id: str, now_us: int) -> None:
    used = api_tokens.c.last_used_at
    await connection.execute(
        update(api_tokens)
        .where(
            api_tokens.c.id == token_id,
            or_(used.is_(None), used < instant(now_us - _USE_NOTED_US)),
        )
        .values(last_used_at=instant(now_us))
    )


def _of(organization: OrganizationKey) -> tuple[Any, Any]:
    return (
        service_accounts.c.organization_id == organization.id,
        service_accounts.c.owner_id == organization.owner_id,
    )


def _token(row: Row[Any]) -> ApiToken:
    return ApiToken(
        row.id,
        row.account_id,
        row.name,
        OrganizationKey(row.organization_id, row.owner_id),
        frozenset(map(Scope, row.scopes.split(","))),
        row.created_by,
        microseconds(row.created_at),
        microseconds(row.expires_at),
        microseconds(row.last_used_at),
        microseconds(row.revoked_at),
    )
