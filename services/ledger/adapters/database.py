"""The database: connections, what their errors mean, and the migrations at the start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from types import MappingProxyType

import asyncpg
import msgspec
import structlog
from sqlalchemy import bindparam, event, make_url, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fogbank.runtime.crash_points import crash_point
from fogbank.runtime.migrations import Migrations
from fogbank.runtime.operator_error import OperatorError
from services.ledger.adapters.tables import CHECKPOINT
from services.ledger.app.ports import LedgerMismatchError, StoreUnavailableError
from services.ledger.core.projection import PROJECTION

_log = structlog.get_logger(__name__)

MIGRATIONS = Migrations(Path(__file__).with_name("migrations"), "public", "ledger_alembic_version")

# Names in the space of PostgreSQL's advisory locks ("fog" in ASCII, and a number of our own).
MIGRATION_LOCK = 0x666F67_0001
LEADER_LOCK = 0x666F67_0002

_CONNECT_TIMEOUT_S = 5.0
_COMMAND_TIMEOUT_S = 30.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_RETRY_HINT_MS = 1_000
# PostgreSQL counts from the year 2000.
_ITS_EPOCH_US = 946_684_800_000_000

# Errors after which trying again makes sense: no connection, or one that was cut.
_CLASSES_OF_OUTAGE = (
    OSError,
    TimeoutError,
    PoolTimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InsufficientResourcesError,
)

# Errors that stay until somebody mends the address or the rights.
_REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)


def make_engine(
    url: str,
    pool_size: int,
    tls: SSLContext | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
    *,
    command_timeout_s: float = _COMMAND_TIMEOUT_S,
) -> AsyncEngine:
    """Return an engine that connects when first used, with at most `pool_size` connections.

    Instants go in and come out as microseconds since 1970. `tls` encrypts the connections;
    parameters of the address (`?ssl=require`) do so as well. `settings` are the sessions'. A
    statement may take `command_timeout_s`.

    Raises:
        OperatorError: the address is none.
    """
    try:
        address = make_url(url)
    except ArgumentError:
        # Its own message may show the password.
        raise OperatorError(
            "DATABASE_URL is not an address such as postgresql://user:password@host:5432/name"
        ) from None
    engine = create_async_engine(
        address.set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_CONNECT_TIMEOUT_S,
        connect_args={
            "timeout": _CONNECT_TIMEOUT_S,
            "command_timeout": command_timeout_s,
            "server_settings": {
                "application_name": "fogbank-ledger",
                "jit": "off",
                # As on a disk without a head. At 4, the usual, lists of an owner's deployments
                # passed over those of all others that are newer, to read pages in their order.
                "random_page_cost": "1.1",
                **settings,
            },
        }
        | ({"ssl": tls} if tls else {}),
    )
    event.listen(engine.sync_engine, "connect", _set_codecs)
    return engine


def json_text(value: object) -> str:
    """Return a value as a JSON document."""
    return msgspec.json.encode(value).decode()


def _json_bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def _set_codecs(connection: DBAPIConnection, _record: object) -> None:
    """Let a connection take and give instants as numbers: its own way of both costs far more.

    And let it take what is no text yet for a column of JSON.
    """

    async def set_codecs(driver: asyncpg.Connection) -> None:
        await driver.set_type_codec(
            "timestamptz",
            schema="pg_catalog",
            encoder=lambda instant_us: (instant_us - _ITS_EPOCH_US,),
            decoder=lambda parts: parts[0] + _ITS_EPOCH_US,
            format="tuple",
        )
        await driver.set_type_codec(
            "json",
            schema="pg_catalog",
            encoder=_json_bytes,
            decoder=msgspec.json.decode,
            format="binary",
        )

    connection.run_async(set_codecs)


@asynccontextmanager
async def outages_named() -> AsyncIterator[None]:
    """Turn a failure of the connection into StoreUnavailableError, and let all else pass."""
    try:
        yield
    except DBAPIError as error:
        cause = _cause(error)
        if error.connection_invalidated or isinstance(cause, _CLASSES_OF_OUTAGE):
            raise _unavailable(cause) from error
        raise
    except _CLASSES_OF_OUTAGE as error:
        raise _unavailable(error) from error


def _cause(error: DBAPIError) -> BaseException:
    """Return what the driver said, without what SQLAlchemy made of it."""
    translated = error.orig or error
    return translated.__cause__ or translated


def _unavailable(error: BaseException) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"The ledger's database does not answer: {str(error) or type(error).__name__}",
        retry_after_ms=_RETRY_HINT_MS,
    )


async def prepare(engine: AsyncEngine, fleet: str, generation: int) -> None:
    """Bring the tables up to date, and claim them for a fleet; waits for the database.

    Several processes may do so at once.

    Raises:
        LedgerMismatchError: the tables are another fleet's, or another generation's.
        OperatorError: the database refuses us.
    """
    pause_s = _FIRST_PAUSE_S
    owner: tuple[str, int] | None = None
    while owner is None:
        try:
            crash_point("ledger.before-migration")
            owner = await _migrate_and_claim(engine, fleet, generation)
            crash_point("ledger.after-migration")
        except DBAPIError as error:
            if not isinstance(_cause(error), _REFUSALS):
                raise
            raise OperatorError(
                f"the database refuses the ledger ({_cause(error)}): check DATABASE_URL and what "
                "its user may do"
            ) from error
        except StoreUnavailableError as error:
            _log.warning("The ledger waits for its database", error=error.message)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    if owner != (fleet, generation):
        raise LedgerMismatchError(
            f"the database holds the ledger of fleet {owner[0]}, generation {owner[1]}, not of "
            f"{fleet}, generation {generation}: give each fleet a database of its own"
        )


async def _migrate_and_claim(engine: AsyncEngine, fleet: str, generation: int) -> tuple[str, int]:
    async with outages_named(), engine.begin() as connection:
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK}
        )
        await connection.run_sync(MIGRATIONS.apply)
        await connection.execute(
            _CLAIM, {"fleet": fleet, "generation": generation, "projection": PROJECTION}
        )
        owner = (
            await connection.execute(select(CHECKPOINT.c.fleet, CHECKPOINT.c.generation))
        ).one()
        crash_point("ledger.before-migration-commit")
        return owner.fleet, owner.generation


_CLAIM = text(
    "INSERT INTO public.checkpoint (only_row, fleet, generation, position, digest, projection) "
    "VALUES (true, :fleet, :generation, 0, '', :projection) ON CONFLICT DO NOTHING"
)

LOCK_QUERY = text("SELECT pg_try_advisory_lock(:key)").bindparams(bindparam("key", LEADER_LOCK))
