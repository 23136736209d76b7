"""Invite codes in PostgreSQL: found by an HMAC, shown to owners by opening a seal."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fogbank.domain.tenancy import MembershipRole
from services.gateway.adapters.database import (
    instant,
    invite_codes,
    invite_uses,
    microseconds,
    transaction,
)
from services.gateway.adapters.sealing import Seal
from services.gateway.app.ports import Invite, Invited, InviteTerms, OrganizationKey

# No letters or digits that look like others: people read codes to each other. 78 bits.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_LENGTH = 14
# What stands for the request where nobody asked for the code.
MADE = "made"


class PostgresInvites:
    """The tables of invite codes and of their uses; gateways on one database agree by them."""

    def __init__(self, engine: AsyncEngine, sealing_key: str) -> None:
        self._engine = engine
        self._seal = Seal(sealing_key, "invite code")

    def mark(self, code: str) -> str:
        """Return what stands for a code where the code must not."""
        return self._seal.name(code.encode("utf-8", "replace"))

    async def of(self, organizations: Collection[OrganizationKey]) -> dict[int, Invite]:
        """Return the codes of organizations, by number, of those that have or had one."""
        async with transaction(self._engine) as connection:
            return await self._read(connection, list(organizations))

    async def made(self, organization: OrganizationKey) -> None:
        """Make a code for an organization, unless it has or had one."""
        values = self._fresh(organization, InviteTerms(), MADE)
        async with transaction(self._engine) as connection:
            # Whoever is first makes it; the others read what they made.
            await connection.execute(upsert(invite_codes).values(values).on_conflict_do_nothing())

    async def renew(
        self, organization: OrganizationKey, terms: InviteTerms | None, request: str
    ) -> Invite:
        """Replace a code or revoke it, unless the same request did so already."""
        values = self._fresh(organization, terms or InviteTerms(), request)
        if terms is None:
            values |= {"code_name": None, "ciphertext": None}
        async with transaction(self._engine) as connection:
            await connection.execute(upsert(invite_codes).values(values).on_conflict_do_nothing())
            row = (
                await connection.execute(
                    select(invite_codes.c.code_name, invite_codes.c.request)
                    .where(_is(organization))
                    .with_for_update()
                )
            ).one()
            if row.request != request:
                await connection.execute(
                    delete(invite_uses).where(invite_uses.c.code_name == row.code_name)
                )
                await connection.execute(
                    update(invite_codes).where(_is(organization)).values(values)
                )
            return (await self._read(connection, [organization]))[organization.id]

    async def find(self, code: str, now_us: int) -> Invited | None:
        """Return where a code leads."""
        async with transaction(self._engine) as connection:
            row = await self._working(connection, code, now_us)
        return None if row is None else _invited(row)

    async def redeem(self, code: str, user_id: str, now_us: int) -> Invited | None:
        """Note a use, once for each user."""
        async with transaction(self._engine) as connection:
            row = await self._working(connection, code, now_us, lock=True)
            if row is None:
                return None
            if row.max_uses and not await self._has_room(connection, row, user_id):
                return None
            await connection.execute(
                upsert(invite_uses)
                .values(code_name=row.code_name, user_id=user_id)
                .on_conflict_do_nothing()
            )
        return _invited(row)

    async def _has_room(self, connection: AsyncConnection, row: Row[Any], user_id: str) -> bool:
        """Tell whether a user may use a code that is locked: again, or as one of those allowed."""
        others = (
            select(func.count())
            .select_from(invite_uses)
            .where(invite_uses.c.code_name == row.code_name, invite_uses.c.user_id != user_id)
        )
        used: int = (await connection.execute(others)).scalar_one()
        most: int = row.max_uses
        return used < most

    async def _working(
        self, connection: AsyncConnection, code: str, now_us: int, *, lock: bool = False
    ) -> Row[Any] | None:
        statement = select(invite_codes).where(invite_codes.c.code_name == self.mark(code))
        if lock:
            statement = statement.with_for_update()
        row = (await connection.execute(statement)).first()
        if row is None or (row.expires_at is not None and row.expires_at <= instant(now_us)):
            return None
        return row

    async def _read(
        self, connection: AsyncConnection, organizations: list[OrganizationKey]
    ) -> dict[int, Invite]:
        uses = (
            select(func.count())
            .where(invite_uses.c.code_name == invite_codes.c.code_name)
            .scalar_subquery()
        )
        key = tuple_(invite_codes.c.organization_id, invite_codes.c.owner_id)
        statement = select(invite_codes, uses.label("uses")).where(key.in_(organizations))
        rows = (await connection.execute(statement)).all()
        return {row.organization_id: self._invite(row) for row in rows}

    def _invite(self, row: Row[Any]) -> Invite:
        code = ""
        if row.ciphertext is not None:
            bound_to = _bound_to(OrganizationKey(row.organization_id, row.owner_id))
            code = self._seal.open(row.ciphertext, bound_to).decode()
        role = MembershipRole[row.role.upper()]
        terms = InviteTerms(role, microseconds(row.expires_at), row.max_uses)
        return Invite(code, terms, row.uses)

    def _fresh(
        self, organization: OrganizationKey, terms: InviteTerms, request: str
    ) -> dict[str, Any]:
        code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        return {
            "organization_id": organization.id,
            "owner_id": organization.owner_id,
            "code_name": self.mark(code),
            "ciphertext": self._seal.close(code.encode(), _bound_to(organization)),
            "role": terms.role.name.lower(),
            "expires_at": instant(terms.expires_at_us) if terms.expires_at_us else None,
            "max_uses": terms.max_uses,
            "request": request,
        }


def _is(organization: OrganizationKey) -> ColumnElement[bool]:
    columns = invite_codes.c
    return and_(
        columns.organization_id == organization.id, columns.owner_id == organization.owner_id
    )


def _invited(row: Row[Any]) -> Invited:
    key = OrganizationKey(row.organization_id, row.owner_id)
    return Invited(key, MembershipRole[row.role.upper()])


def _bound_to(organization: OrganizationKey) -> bytes:
    return f"invite code {organization.id}".encode()
