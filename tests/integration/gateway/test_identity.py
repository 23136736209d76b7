"""Accounts and sessions on a real database."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from fogbank.runtime.clock import ManualClock, SystemClock
from fogbank.runtime.operator_error import OperatorError
from services.gateway.adapters import database
from services.gateway.adapters.database import make_engine, migrate, ping
from services.gateway.adapters.denials import PostgresDenials
from services.gateway.adapters.passwords import Argon2Passwords, HashingCost
from services.gateway.adapters.tokens import JwtAccessTokens, SigningKey
from services.gateway.adapters.users import PostgresRefreshTokens, PostgresUsers
from services.gateway.app.identity import Identity, Session
from services.gateway.app.principal import Principal, Role
from tests.integration.gateway.conftest import migrated
from tests.support.postgres import PostgresServer
from tests.support.rest_face import MemoryAccounts
from tests.support.waiting import eventually

CHEAP = HashingCost(time_cost=1, memory_kib=8, parallelism=1)
WEEK_S = 7 * 24 * 3600
NOBODY = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def passwords() -> Iterator[Argon2Passwords]:
    passwords = Argon2Passwords(CHEAP)
    yield passwords
    passwords.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(SystemClock().now_us())


@pytest.fixture
def identity(engine: AsyncEngine, passwords: Argon2Passwords, clock: ManualClock) -> Identity:
    return Identity(
        PostgresUsers(engine),
        PostgresRefreshTokens(engine),
        passwords,
        JwtAccessTokens(SigningKey("0123456789abcdef" * 2), 1800),
        PostgresDenials(engine, clock),
        clock=clock,
        refresh_lifetime_s=WEEK_S,
    )


async def test_register_login_and_be_known(identity: Identity) -> None:
    user = await identity.register("ambesh4", "ambesh")
    session = await identity.login("AMBESH4", "ambesh")
    principal = await identity.authenticate(session.access_token)
    assert (principal.user_id, principal.role) == (user.id, Role.USER)
    assert session.expires_in_s == 1800


async def test_a_name_is_given_once_whatever_its_case(identity: Identity) -> None:
    outcomes = await asyncio.gather(
        *(identity.register(name, "ambesh") for name in ("Bob", "bob", "BOB")),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, AlreadyExistsError) for outcome in outcomes) == 2


@pytest.mark.parametrize(
    ("username", "password"),
    [("bob", "wrong-one"), ("nobody", "secret-1"), ("b\0b", "secret-1"), ("bob", "x" * 10_000)],
)
async def test_a_failed_login_says_nothing_more(
    identity: Identity, username: str, password: str
) -> None:
    await identity.register("bob", "secret-1")
    with pytest.raises(UnauthenticatedError, match=r"^Wrong username or password$"):
        await identity.login(username, password)


async def test_passwords_and_refresh_tokens_are_not_kept(
    identity: Identity, engine: AsyncEngine
) -> None:
    await identity.register("bob", "secret-1")
    session = await identity.login("bob", "secret-1")
    async with engine.connect() as connection:
        users = (await connection.execute(select(database.users))).all()
        tokens = (await connection.execute(select(database.refresh_tokens))).all()
    assert "secret-1" not in repr(users)
    assert users[0].password_hash.startswith("$argon2id$")
    assert session.refresh_token not in repr(tokens)
    assert len(tokens) == 1


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_family(
    identity: Identity,
) -> None:
    user = await identity.register("bob", "secret-1")
    first = await identity.login("bob", "secret-1")
    other = await identity.login("bob", "secret-1")
    second = await identity.refresh(first.refresh_token)
    assert (await identity.authenticate(second.access_token)).user_id == user.id
    with pytest.raises(UnauthenticatedError) as refusal:
        await identity.refresh(first.refresh_token)
    assert refusal.value.reason == "REFRESH_TOKEN_REUSED"
    with pytest.raises(UnauthenticatedError):
        await identity.refresh(second.refresh_token)
    for ended in (first, second):
        with pytest.raises(UnauthenticatedError):
            await identity.authenticate(ended.access_token)
    assert (await identity.authenticate(other.access_token)).user_id == user.id
    await identity.refresh(other.refresh_token)


async def test_of_many_uses_at_once_at_most_one_succeeds_and_none_survives(
    identity: Identity,
) -> None:
    await identity.register("bob", "secret-1")
    session = await identity.login("bob", "secret-1")
    outcomes = await asyncio.gather(
        *(identity.refresh(session.refresh_token) for _ in range(5)), return_exceptions=True
    )
    winners = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(winners) == 1
    with pytest.raises(UnauthenticatedError):
        await identity.refresh(winners[0].refresh_token)


async def test_an_expired_refresh_token_is_refused(identity: Identity, clock: ManualClock) -> None:
    await identity.register("bob", "secret-1")
    session = await identity.login("bob", "secret-1")
    clock.advance(WEEK_S + 1)
    with pytest.raises(UnauthenticatedError):
        await identity.refresh(session.refresh_token)


async def test_a_sign_in_forgets_the_users_expired_families(
    identity: Identity, engine: AsyncEngine, clock: ManualClock
) -> None:
    await identity.register("bob", "secret-1")
    await identity.login("bob", "secret-1")
    clock.advance(WEEK_S + 1)
    await identity.login("bob", "secret-1")
    async with engine.connect() as connection:
        assert len((await connection.execute(select(database.refresh_tokens))).all()) == 1


@pytest.mark.parametrize("token", ["", "x", "\0", "x" * 10_000, "\ud800"])
async def test_a_made_up_refresh_token_is_refused(identity: Identity, token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        await identity.refresh(token)


async def test_the_admin_is_made_once_and_keeps_the_first_password(identity: Identity) -> None:
    assert await identity.ensure_admin("admin", "secret-1")
    assert not await identity.ensure_admin("Admin", "secret-2")
    session = await identity.login("admin", "secret-1")
    assert (await identity.authenticate(session.access_token)).is_admin


async def test_one_address_holds_up_nobody_elses_sign_in(clock: ManualClock) -> None:
    accounts, passwords = MemoryAccounts(), Argon2Passwords(CHEAP, threads=1, waiting=8)
    tokens = JwtAccessTokens(SigningKey("0123456789abcdef" * 2), 1800)
    identity = Identity(
        *(accounts, accounts, passwords, tokens, accounts), clock=clock, refresh_lifetime_s=WEEK_S
    )
    await identity.register("admin", "secret-1")
    answered: list[str] = []

    async def sign_in(name: str, address: str) -> None:
        try:
            await identity.login(name, "secret-1", address)
        finally:
            answered.append(name)

    flood = [sign_in(f"nobody-{number}", "192.0.2.1") for number in range(20)]
    outcomes = await asyncio.gather(*flood, sign_in("admin", "2001:db8::1"), return_exceptions=True)
    passwords.close()
    # One more of the flood's waits so much less long, and more had no place in the line anyway.
    refused = [each for each in outcomes if isinstance(each, ResourceExhaustedError)]
    assert len(refused) == 20 - 1 - 8 + 1
    assert outcomes[-1] is None
    assert answered[len(refused) :].index("admin") <= 2


async def test_who_goes_away_keeps_a_thread_no_longer_than_the_hash() -> None:
    passwords = Argon2Passwords(HashingCost(), threads=1, waiting=1)
    for _ in range(3):
        gone = asyncio.create_task(passwords.hash("secret-1", "192.0.2.1"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    waits = asyncio.create_task(passwords.hash("secret-1", "198.51.100.1"))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhaustedError):
        await passwords.hash("secret-1", "198.51.100.1")
    assert await waits
    passwords.close()


async def test_gateways_that_start_together_make_one_admin(identity: Identity) -> None:
    made = await asyncio.gather(*(identity.ensure_admin("admin", "secret-1") for _ in range(4)))
    assert sorted(made) == [False, False, False, True]


async def test_an_ordinary_account_never_becomes_the_admins(identity: Identity) -> None:
    await identity.register("admin", "secret-1")
    with pytest.raises(FailedPreconditionError, match="FOG_ADMIN_USER"):
        await identity.ensure_admin("admin", "secret-2")


async def test_an_old_hash_is_renewed_at_sign_in(identity: Identity, engine: AsyncEngine) -> None:
    await identity.register("bob", "secret-1")
    dearer = Argon2Passwords(HashingCost(time_cost=2, memory_kib=16, parallelism=1))
    later = Identity(
        PostgresUsers(engine),
        PostgresRefreshTokens(engine),
        dearer,
        JwtAccessTokens(SigningKey("0123456789abcdef" * 2), 1800),
        PostgresDenials(engine, SystemClock()),
        clock=SystemClock(),
        refresh_lifetime_s=WEEK_S,
    )
    await later.login("bob", "secret-1")
    async with engine.connect() as connection:
        (kept,) = (await connection.execute(select(database.users.c.password_hash))).scalars()
    assert "m=16,t=2" in kept
    await later.login("bob", "secret-1")
    dearer.close()


async def test_too_many_hashes_at_once_are_turned_away() -> None:
    passwords = Argon2Passwords(CHEAP, threads=1, waiting=1)
    outcomes = await asyncio.gather(
        *(passwords.hash("secret-1") for _ in range(4)), return_exceptions=True
    )
    assert [isinstance(outcome, ResourceExhaustedError) for outcome in outcomes] == [
        False,
        False,
        True,
        True,
    ]
    assert await passwords.hash("secret-1")
    passwords.close()


async def test_gateways_that_start_together_migrate_once(postgres: PostgresServer) -> None:
    async with postgres.database() as url:
        engines = [make_engine(url) for _ in range(4)]
        await asyncio.gather(*(migrate(engine) for engine in engines))
        await migrate(engines[0])
        assert await ping(engines[0])
        for engine in engines:
            await engine.dispose()


async def test_a_database_address_may_be_written_as_everywhere(postgres: PostgresServer) -> None:
    async with postgres.database() as url:
        engine = make_engine(url.replace("postgresql+asyncpg://", "postgresql://"))
        assert await ping(engine)
        await engine.dispose()
    with pytest.raises(OperatorError, match="DATABASE_URL is not an address"):
        make_engine("word")


async def test_without_a_database_accounts_are_unavailable(
    passwords: Argon2Passwords, clock: ManualClock
) -> None:
    engine = make_engine("postgresql+asyncpg://nobody:@/nothing?host=/nowhere")
    assert not await ping(engine)
    tokens = JwtAccessTokens(SigningKey("0123456789abcdef" * 2), 1800)
    identity = Identity(
        PostgresUsers(engine),
        PostgresRefreshTokens(engine),
        passwords,
        tokens,
        PostgresDenials(engine, clock),
        clock=clock,
        refresh_lifetime_s=WEEK_S,
    )
    with pytest.raises(UnavailableError):
        await identity.login("bob", "secret-1")
    await engine.dispose()


@dataclass
class Gateways:
    """Two gateways' views of one database, the second of which can be restarted."""

    url: str
    first: Identity
    second: Identity


@pytest.fixture
async def gateways(postgres: PostgresServer, passwords: Argon2Passwords) -> AsyncIterator[Gateways]:
    async with postgres.database("gateway", migrated) as url, AsyncExitStack() as stack:
        found = [await stack.enter_async_context(_gateway(url, passwords)) for _ in range(2)]
        yield Gateways(url, *found)


@asynccontextmanager
async def _gateway(url: str, passwords: Argon2Passwords) -> AsyncIterator[Identity]:
    engine, clock = make_engine(url), SystemClock()
    denials = PostgresDenials(engine, clock)
    await denials.read()
    following = asyncio.create_task(denials.follow())
    try:
        yield Identity(
            PostgresUsers(engine),
            PostgresRefreshTokens(engine),
            passwords,
            JwtAccessTokens(SigningKey("0123456789abcdef" * 2), 1800),
            denials,
            clock=clock,
            refresh_lifetime_s=WEEK_S,
        )
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await engine.dispose()


async def _is_out(identity: Identity, session: Session) -> bool:
    try:
        await identity.authenticate(session.access_token)
    except UnauthenticatedError:
        return True
    return False


async def test_who_signs_out_is_out_at_every_gateway(
    gateways: Gateways, passwords: Argon2Passwords
) -> None:
    await gateways.first.register("bob", "secret-1")
    session, other = [await gateways.first.login("bob", "secret-1") for _ in range(2)]
    newer = await gateways.second.refresh(session.refresh_token)
    assert not await _is_out(gateways.second, session)
    await gateways.first.logout(await gateways.first.authenticate(newer.access_token))
    assert await _is_out(gateways.first, session)
    await eventually(lambda: _is_out(gateways.second, session))
    assert await _is_out(gateways.second, newer)
    with pytest.raises(UnauthenticatedError):
        await gateways.second.refresh(newer.refresh_token)
    assert not await _is_out(gateways.second, other)
    # Also at one that starts later.
    async with _gateway(gateways.url, passwords) as third:
        assert await _is_out(third, session)
        assert not await _is_out(third, other)


async def test_a_gateway_hears_of_sign_outs_after_its_connection_was_lost(
    gateways: Gateways,
) -> None:
    await gateways.first.register("bob", "secret-1")
    session = await gateways.first.login("bob", "secret-1")
    engine = make_engine(gateways.url)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    await engine.dispose()
    await gateways.first.logout(await gateways.first.authenticate(session.access_token))
    await eventually(lambda: _is_out(gateways.second, session))


async def test_what_was_denied_is_forgotten_when_it_has_ended(
    engine: AsyncEngine, clock: ManualClock
) -> None:
    denials = PostgresDenials(engine, clock)
    gone, longer = [Principal(NOBODY, token_id=each) for each in ("gone", "longer")]
    await denials.deny(["gone"], clock.now_us() + 1_000_000)
    clock.advance(2_000_000)
    await denials.deny(["longer"], clock.now_us() + 1_000_000)
    await denials.read()
    assert (denials.denies(gone), denials.denies(longer)) == (False, True)
    async with engine.connect() as connection:
        kept = (await connection.execute(select(database.denied_ids.c.id))).scalars().all()
    assert kept == ["longer"]


async def test_who_could_not_read_for_too_long_lets_nobody_in(
    engine: AsyncEngine, clock: ManualClock
) -> None:
    denials = PostgresDenials(engine, clock, 100)
    someone = Principal(NOBODY, token_id="good")
    await denials.read()
    clock.advance(100)
    assert not denials.denies(someone)
    clock.advance(1)
    with pytest.raises(UnavailableError, match="for 101 s who signed out") as refused:
        denials.denies(someone)
    assert refused.value.reason == "DENIALS_OUTDATED"
    # A clock that is set back makes nothing newer.
    clock.step(-1_000)
    with pytest.raises(UnavailableError):
        denials.denies(someone)
    await denials.read()
    assert not denials.denies(someone)
