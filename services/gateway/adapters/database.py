"""The gateway's own tables in PostgreSQL, in schema `gateway`: definitions, engine, migrations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from ssl import SSLContext

import asyncpg
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    make_url,
    text,
)
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from fogbank.domain.errors import UnavailableError
from fogbank.runtime.migrations import Migrations
from fogbank.runtime.operator_error import OperatorError

SCHEMA = "gateway"
MIGRATIONS = Migrations(Path(__file__).with_name("migrations"), SCHEMA, "alembic_version")

# "fogGATE" as a number: one gateway migrates at a time, whichever host it is on.
_MIGRATION_LOCK = 0x666F6747415445
_RETRY_AFTER_MS = 1000

# What a database says that starts, stops or has no room for us: it may be there again soon.
_OUTAGES = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)

metadata = MetaData(schema=SCHEMA)

users = Table(
    "users",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("username", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# A family is what descends from one sign-in; its row is also the lock that puts uses in order.
refresh_families = Table(
    "refresh_families",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_digest", LargeBinary, primary_key=True),
    Column(
        "family_id",
        ForeignKey(refresh_families.c.id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
)

# Ids of access tokens and of sessions that were signed out before they ended.
denied_ids = Table(
    "denied_ids",
    metadata,
    Column("id", Text, primary_key=True),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
)

sealed_environments = Table(
    "sealed_environments",
    metadata,
    Column("env_key", Text, primary_key=True),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("used_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# One for each organization; without a name and ciphertext it is revoked. `request` is the last
# command that changed it.
invite_codes = Table(
    "invite_codes",
    metadata,
    Column("organization_id", BigInteger, primary_key=True),
    Column("owner_id", UUID(as_uuid=False), primary_key=True),
    Column("code_name", Text, unique=True),
    Column("ciphertext", LargeBinary),
    Column("role", String(16), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("max_uses", Integer, nullable=False),
    Column("request", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# `owner_id` is the organization's, empty for that of everybody: the number could be another log's.
service_accounts = Table(
    "service_accounts",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("organization_id", BigInteger, nullable=False),
    Column("owner_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("organization_id", "owner_id", "name", name="service_accounts_named_once"),
)

# `request` is the command that made it; `scopes` are separated by commas.
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column(
        "account_id",
        ForeignKey(service_accounts.c.id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("token_digest", LargeBinary, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_by", UUID(as_uuid=False), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("request", Text, nullable=False, unique=True),
)

invite_uses = Table(
    "invite_uses",
    metadata,
    Column(
        "code_name",
        ForeignKey(invite_codes.c.code_name, ondelete="CASCADE", onupdate="CASCADE"),
        primary_key=True,
    ),
    Column("user_id", UUID(as_uuid=False), primary_key=True),
)


def make_engine(
    database_url: str, *, pool_size: int = 5, tls: SSLContext | None = None
) -> AsyncEngine:
    """Return an engine for a `postgresql://` address; nothing is connected yet.

    Raises:
        OperatorError: the address is none.
    """
    try:
        address = make_url(database_url)
    except ArgumentError:
        # Its own message may show the password.
        raise OperatorError(
            "DATABASE_URL is not an address such as postgresql://user:password@host:5432/name"
        ) from None
    return create_async_engine(
        address.set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={"timeout": 5, "command_timeout": 30} | ({"ssl": tls} if tls else {}),
    )


async def migrate(engine: AsyncEngine) -> None:
    """Bring the schema up to date; gateways that start together take turns."""
    async with engine.begin() as connection:
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK}
        )
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        await connection.run_sync(MIGRATIONS.apply)


async def ping(engine: AsyncEngine) -> bool:
    """Tell whether the database answers."""
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (DBAPIError, PoolTimeoutError, OSError, TimeoutError):
        return False
    return True


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Run the block in a transaction; a database out of reach becomes UnavailableError."""
    try:
        async with engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeoutError, OSError, TimeoutError) as error:
        raise _out_of_reach() from error
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(_cause(error), _OUTAGES):
            raise _out_of_reach() from error
        raise


def instant(us: int) -> datetime:
    """Return microseconds since 1970 as the columns have it."""
    return datetime.fromtimestamp(us / 1_000_000, UTC)


def microseconds(column: datetime | None) -> int:
    """Return what a column holds in microseconds since 1970, 0 for nothing."""
    return 0 if column is None else round(column.timestamp() * 1_000_000)


def _cause(error: DBAPIError) -> BaseException:
    """Return what the driver said, without what SQLAlchemy made of it."""
    translated = error.orig or error
    return translated.__cause__ or translated


def _out_of_reach() -> UnavailableError:
    return UnavailableError(
        "The accounts database is out of reach, try again",
        reason="DATABASE_UNAVAILABLE",
        retry_after_ms=_RETRY_AFTER_MS,
    )
