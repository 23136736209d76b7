"""Tokens of service accounts on a real database."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fogbank.domain.errors import (
    AlreadyExistsError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from fogbank.runtime.clock import ManualClock, SystemClock
from services.gateway.adapters import api_tokens as module
from services.gateway.adapters import database
from services.gateway.adapters.api_tokens import PostgresApiTokens
from services.gateway.adapters.database import make_engine
from services.gateway.app.ports import OrganizationKey
from services.gateway.app.service_accounts import ApiToken, digest_of
from services.gateway.core.service_accounts import ENDED_SHOWN_S, Scope
from tests.support.fleet_log import an_id

OURS = OrganizationKey(2, an_id("alice"))
# The same number in another log.
OTHERS = OrganizationKey(2, an_id("mallory"))
SECOND_US = 1_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(SystemClock().now_us())


@pytest.fixture
def tokens(engine: AsyncEngine, clock: ManualClock) -> PostgresApiTokens:
    return PostgresApiTokens(engine, clock.now_us)


def a_token(clock: ManualClock, name: str, account: str = "ci", **changes: object) -> ApiToken:
    now_us = clock.now_us()
    values = {
        "id": an_id(name),
        "account_id": an_id(f"account of {name}"),
        "account": account,
        "organization": OURS,
        "scopes": frozenset({Scope.DEPLOY, Scope.NODES}),
        "created_by": an_id("alice"),
        "created_at_us": now_us,
        "expires_at_us": now_us + 3600 * SECOND_US,
    }
    return ApiToken(**{**values, **changes})  # type: ignore[arg-type]


async def kept(tokens: PostgresApiTokens, token: ApiToken, request: str = "") -> ApiToken:
    return await tokens.add(token, digest_of(f"fogtok_{token.id}"), request or token.id)


async def read(tokens: PostgresApiTokens, name: str) -> str:
    return (await tokens.read(f"fogtok_{an_id(name)}")).user_id


async def test_tokens_of_one_name_are_one_service_accounts(
    tokens: PostgresApiTokens, clock: ManualClock
) -> None:
    first = await kept(tokens, a_token(clock, "first"))
    clock.advance(1)
    second = await kept(tokens, a_token(clock, "second"))
    foreign = await kept(tokens, a_token(clock, "foreign", organization=OTHERS))
    assert first.account_id == second.account_id == an_id("account of first")
    assert foreign.account_id != first.account_id
    assert [each.id for each in await tokens.of(OURS)] == [second.id, first.id]
    caller = await tokens.read(f"fogtok_{second.id}")
    assert (caller.user_id, caller.token_id) == (first.account_id, second.id)
    assert caller.ends_at_us == second.expires_at_us
    assert caller.service is not None
    assert (caller.service.organization, caller.service.scopes) == (OURS, second.scopes)


async def test_the_database_holds_no_token(
    tokens: PostgresApiTokens, clock: ManualClock, engine: AsyncEngine
) -> None:
    token = await kept(tokens, a_token(clock, "first"))
    async with engine.connect() as connection:
        (row,) = (await connection.execute(select(database.api_tokens))).all()
    assert row.token_digest == digest_of(f"fogtok_{token.id}")
    assert not any(str(value).startswith("fogtok_") for value in row)


async def test_a_repeat_makes_no_second_token(
    tokens: PostgresApiTokens, clock: ManualClock
) -> None:
    await kept(tokens, a_token(clock, "first"), "the request")
    with pytest.raises(AlreadyExistsError, match=an_id("first")):
        await kept(tokens, a_token(clock, "second", account="other"), "the request")
    assert [each.id for each in await tokens.of(OURS)] == [an_id("first")]


async def test_tokens_that_ended_long_ago_are_forgotten_when_one_is_made(
    tokens: PostgresApiTokens, clock: ManualClock
) -> None:
    long_s = 2 * ENDED_SHOWN_S
    lasting = clock.now_us() + long_s * SECOND_US
    await kept(tokens, a_token(clock, "ended"))
    await kept(tokens, a_token(clock, "of others", organization=OTHERS))
    revoked = await kept(tokens, a_token(clock, "revoked", expires_at_us=lasting))
    await kept(tokens, a_token(clock, "works", expires_at_us=lasting))
    await tokens.revoke(revoked.id, clock.now_us())
    clock.advance(ENDED_SHOWN_S - 3600)
    await kept(tokens, a_token(clock, "early", expires_at_us=lasting))
    names = {"ended", "revoked", "works", "early"}
    assert {each.id for each in await tokens.of(OURS)} == set(map(an_id, names))
    clock.advance(3 * 3600)
    await kept(tokens, a_token(clock, "late", expires_at_us=lasting))
    names = {"works", "early", "late"}
    assert {each.id for each in await tokens.of(OURS)} == set(map(an_id, names))
    assert len(await tokens.of(OTHERS)) == 1


async def test_tokens_that_are_unknown_expired_or_revoked_dont_count(
    tokens: PostgresApiTokens, clock: ManualClock, engine: AsyncEngine
) -> None:
    await kept(tokens, a_token(clock, "brief", expires_at_us=clock.now_us() + 5 * SECOND_US))
    gone = await kept(tokens, a_token(clock, "gone"))
    for name in ("brief", "gone"):
        assert not tokens.knows(f"fogtok_{an_id(name)}")
        assert await read(tokens, name)
        assert tokens.knows(f"fogtok_{an_id(name)}")
    clock.advance(5)
    await tokens.revoke(gone.id, clock.now_us())
    # One that knows it takes it for good a little longer, unless told: others see it at once.
    elsewhere = PostgresApiTokens(engine, clock.now_us)
    for reader, name in ((tokens, "brief"), (elsewhere, "gone"), (tokens, "never made")):
        with pytest.raises(UnauthenticatedError):
            await read(reader, name)
        assert not reader.knows(f"fogtok_{an_id(name)}")
    clock.advance(30)
    with pytest.raises(UnauthenticatedError):
        await read(tokens, "gone")


async def test_a_token_that_was_refused_is_not_looked_up_again_at_once(
    tokens: PostgresApiTokens, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = 0
    transaction = database.transaction

    def counted(engine: AsyncEngine) -> AbstractAsyncContextManager[AsyncConnection]:
        nonlocal looked_up
        looked_up += 1
        return transaction(engine)

    monkeypatch.setattr(module, "transaction", counted)
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    for times in (1, 1, 2):
        with pytest.raises(UnauthenticatedError):
            await read(tokens, "later")
        assert looked_up == times
        clock.advance(3)
    await kept(tokens, a_token(clock, "later"))
    assert await read(tokens, "later")
    for number in range(9):
        with pytest.raises(UnauthenticatedError):
            await read(tokens, str(number))
        assert len(tokens._refused) <= 3
    before = looked_up
    assert await read(tokens, "later")
    assert looked_up == before, "nonsense does not push out what is known"


async def test_the_last_use_is_noted_to_a_minute(
    tokens: PostgresApiTokens, clock: ManualClock
) -> None:
    assert (await kept(tokens, a_token(clock, "first"))).last_used_at_us == 0
    began_us = clock.now_us()
    uses = []
    for _ in range(5):
        await read(tokens, "first")
        (token,) = await tokens.of(OURS)
        uses.append((token.last_used_at_us - began_us) // SECOND_US)
        clock.advance(31)
    assert uses == [0, 0, 62, 62, 124]


async def test_an_organization_has_so_many_tokens_at_most(
    tokens: PostgresApiTokens, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TOKENS", 2)
    await kept(tokens, a_token(clock, "brief", expires_at_us=clock.now_us() + SECOND_US))
    await kept(tokens, a_token(clock, "first"))
    with pytest.raises(ResourceExhaustedError, match="revoke some"):
        await kept(tokens, a_token(clock, "second"))
    clock.advance(1)
    await kept(tokens, a_token(clock, "second"))


async def test_without_a_database_nobody_can_tell(clock: ManualClock) -> None:
    engine = make_engine("postgresql+asyncpg://nobody:@/nothing?host=/nowhere")
    with pytest.raises(UnavailableError):
        await read(PostgresApiTokens(engine, clock.now_us), "first")
    await engine.dispose()
