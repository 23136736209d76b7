"""Accounts and refresh tokens in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection
from uuid import uuid4

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fogbank.runtime.crash_points import crash_point
from services.gateway.adapters.database import (
    instant,
    refresh_families,
    refresh_tokens,
    transaction,
    users,
)
from services.gateway.app.identity import Reused, User
from services.gateway.app.principal import Principal, Role


class PostgresUsers:
    """The table of accounts."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, user: User, name_key: str) -> bool:
        """Keep a new account; False if its name is taken."""
        statement = (
            upsert(users)
            .values(
                id=user.id,
                username=user.username,
                name_key=name_key,
                password_hash=user.password_hash,
                role=user.role.value,
            )
            .on_conflict_do_nothing(index_elements=[users.c.name_key])
            .returning(users.c.id)
        )
        async with transaction(self._engine) as connection:
            is_new = (await connection.execute(statement)).first() is not None
            crash_point("gateway.before-account-commit")
        crash_point("gateway.after-account-commit")
        return is_new

    async def by_name_key(self, name_key: str) -> User | None:
        """Return the account whose name comes down to `name_key`."""
        statement = select(users.c.id, users.c.username, users.c.password_hash, users.c.role).where(
            users.c.name_key == name_key
        )
        async with transaction(self._engine) as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else User(row[0], row[1], row[2], Role(row[3]))

    async def names(self, user_ids: Collection[str]) -> dict[str, str]:
        """Return the names of those accounts that there are, by id."""
        statement = select(users.c.id, users.c.username).where(users.c.id.in_(set(user_ids)))
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(statement)).all()
        return {row[0]: row[1] for row in rows}

    async def set_password_hash(self, user_id: str, password_hash: str) -> None:
        """Replace a hash by one of today's cost."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(users).where(users.c.id == user_id).values(password_hash=password_hash)
            )


class PostgresRefreshTokens:
    """The tables of refresh tokens and their families."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin(self, user_id: str, token: bytes, now_us: int, expires_at_us: int) -> str:
        """Start a family with its first token and return its id; the user's expired ones go."""
        family_id = str(uuid4())
        async with transaction(self._engine) as connection:
            await connection.execute(
                delete(refresh_families).where(
                    refresh_families.c.user_id == user_id,
                    refresh_families.c.expires_at <= instant(now_us),
                )
            )
            await connection.execute(
                insert(refresh_families).values(
                    id=family_id, user_id=user_id, expires_at=instant(expires_at_us)
                )
            )
            await _keep(connection, token, family_id, expires_at_us)
        crash_point("gateway.after-session-commit")
        return family_id

    async def end(self, session_id: str) -> None:
        """Forget a family and its tokens."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                delete(refresh_families).where(refresh_families.c.id == session_id)
            )

    async def rotate(
        self, token: bytes, successor: bytes, now_us: int, expires_at_us: int
    ) -> Principal | Reused | None:
        """Use a token up and keep its successor, unless it was used before."""
        async with transaction(self._engine) as connection:
            family_id = await _lock_family_of(connection, token)
            if family_id is None:
                return None
            row = (
                await connection.execute(
                    select(
                        refresh_tokens.c.used_at,
                        refresh_tokens.c.expires_at,
                        users.c.id,
                        users.c.role,
                    )
                    .join(refresh_families, refresh_families.c.id == refresh_tokens.c.family_id)
                    .join(users, users.c.id == refresh_families.c.user_id)
                    .where(refresh_tokens.c.token_digest == token)
                )
            ).first()
            if row is None or row.expires_at <= instant(now_us):
                return None
            if row.used_at is not None:
                return Reused(family_id)
            await _replace(connection, family_id, token, now_us, expires_at_us)
            await _keep(connection, successor, family_id, expires_at_us)
        crash_point("gateway.after-rotation-commit")
        return Principal(row.id, Role(row.role), family_id)


async def _lock_family_of(connection: AsyncConnection, token: bytes) -> str | None:
    """Return the token's family, ours alone until the transaction ends."""
    statement = (
        select(refresh_families.c.id)
        .join(refresh_tokens, refresh_tokens.c.family_id == refresh_families.c.id)
        .where(refresh_tokens.c.token_digest == token)
        .with_for_update(of=refresh_families)
    )
    return (await connection.execute(statement)).scalar_one_or_none()


async def _replace(
    connection: AsyncConnection, family_id: str, token: bytes, now_us: int, expires_at_us: int
) -> None:
    """Mark a token used, let its family live as long as the next, drop tokens long expired."""
    await connection.execute(
        update(refresh_tokens)
        .where(refresh_tokens.c.token_digest == token)
        .values(used_at=instant(now_us))
    )
    await connection.execute(
        update(refresh_families)
        .where(refresh_families.c.id == family_id)
        .values(expires_at=instant(expires_at_us))
    )
    await connection.execute(
        delete(refresh_tokens).where(
            refresh_tokens.c.family_id == family_id,
            refresh_tokens.c.expires_at <= instant(now_us),
        )
    )


async def _keep(
    connection: AsyncConnection, token: bytes, family_id: str, expires_at_us: int
) -> None:
    await connection.execute(
        insert(refresh_tokens).values(
            token_digest=token, family_id=family_id, expires_at=instant(expires_at_us)
        )
    )
