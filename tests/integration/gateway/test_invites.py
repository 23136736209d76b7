"""Invite codes on a real database: sealed, limited, the same for all gateways."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.tenancy import MembershipRole
from services.gateway.adapters import database
from services.gateway.adapters.invites import PostgresInvites
from services.gateway.adapters.sealing import BrokenSealError
from services.gateway.adapters.users import PostgresUsers
from services.gateway.app.identity import User
from services.gateway.app.ports import Invited, InviteTerms, OrganizationKey
from services.gateway.app.principal import Role
from tests.support.fleet_log import an_id

KEY = "sealing-key-of-at-least-32-bytes-0123456789"
OURS, THEIRS = OrganizationKey(2, an_id("alice")), OrganizationKey(3, an_id("alice"))
BOB, CAROL = an_id("bob"), an_id("carol")
OPERATOR = MembershipRole.OPERATOR
NOW_US = 1_700_000_000_000_000


@pytest.fixture
def invites(engine: AsyncEngine) -> PostgresInvites:
    return PostgresInvites(engine, KEY)


async def code_of(invites: PostgresInvites, organization: OrganizationKey = OURS) -> str:
    await invites.made(organization)
    return (await invites.of([organization]))[organization.id].code


async def test_looking_makes_no_code(engine: AsyncEngine, invites: PostgresInvites) -> None:
    assert await invites.of([OURS]) == {}
    async with engine.connect() as connection:
        assert not (await connection.execute(select(database.invite_codes))).all()


async def test_each_organization_has_one_code_for_all_gateways(engine: AsyncEngine) -> None:
    gateways = [PostgresInvites(engine, KEY) for _ in range(4)]
    for key in (OURS, THEIRS):
        await asyncio.gather(*(gateway.made(key) for gateway in gateways))
    found = await asyncio.gather(*(gateway.of([OURS, THEIRS]) for gateway in gateways))
    assert all(each == found[0] for each in found)
    ours, theirs = found[0][2], found[0][3]
    assert ours.code != theirs.code
    assert ours.code.isalnum()
    assert (ours.terms, ours.uses) == (InviteTerms(), 0)
    assert await gateways[0].of([]) == {}


async def test_the_rows_do_not_tell_the_code(engine: AsyncEngine, invites: PostgresInvites) -> None:
    code = await code_of(invites)
    async with engine.connect() as connection:
        rows = (await connection.execute(select(database.invite_codes))).all()
    assert code not in repr(rows)
    assert code not in invites.mark(code)
    other = PostgresInvites(engine, KEY[::-1])
    assert other.mark(code) != invites.mark(code)
    with pytest.raises(BrokenSealError, match="FOG_SEALING_KEY"):
        await other.of([OURS])


async def test_a_code_leads_to_its_organization(invites: PostgresInvites) -> None:
    code = await code_of(invites)
    assert await invites.find(code, NOW_US) == Invited(OURS, OPERATOR)
    for wrong in ("", code.swapcase(), code[:-1], "\0", "é"):
        assert await invites.find(wrong, NOW_US) is None
        assert await invites.redeem(wrong, BOB, NOW_US) is None


async def test_uses_count_users_and_end(invites: PostgresInvites) -> None:
    terms = InviteTerms(MembershipRole.VIEWER, max_uses=1)
    code = (await invites.renew(OURS, terms, "1")).code
    racing = await asyncio.gather(*(invites.redeem(code, user, NOW_US) for user in (BOB, CAROL)))
    assert racing.count(None) == 1
    first = BOB if racing[0] else CAROL
    assert await invites.redeem(code, first, NOW_US) == Invited(OURS, MembershipRole.VIEWER)
    assert (await invites.of([OURS]))[2].uses == 1


async def test_a_code_expires(invites: PostgresInvites) -> None:
    terms = InviteTerms(expires_at_us=NOW_US + 1_000_000)
    renewed = await invites.renew(OURS, terms, "1")
    assert renewed.terms == terms
    assert await invites.redeem(renewed.code, BOB, NOW_US) is not None
    assert await invites.find(renewed.code, NOW_US + 1_000_000) is None
    assert await invites.redeem(renewed.code, CAROL, NOW_US + 1_000_000) is None


async def test_a_renewed_code_replaces_the_former_once(invites: PostgresInvites) -> None:
    former = await code_of(invites)
    await invites.redeem(former, BOB, NOW_US)
    renewed = await invites.renew(OURS, InviteTerms(), "1")
    assert (renewed.code != former, renewed.uses) == (True, 0)
    assert await invites.renew(OURS, InviteTerms(max_uses=7), "1") == renewed, "a repeat"
    assert await invites.find(former, NOW_US) is None
    assert await invites.renew(OURS, InviteTerms(), "2") != renewed


async def test_a_revoked_code_is_not_made_anew_by_looking(invites: PostgresInvites) -> None:
    former = await code_of(invites)
    await invites.redeem(former, BOB, NOW_US)
    assert (await invites.renew(OURS, None, "1")).code == ""
    assert await code_of(invites) == ""
    assert await invites.find(former, NOW_US) is None
    assert (await invites.renew(OURS, InviteTerms(), "2")).code


async def test_accounts_are_named_by_id(engine: AsyncEngine) -> None:
    users = PostgresUsers(engine)
    await users.add(User(BOB, "Bob", "hash", Role.USER), "bob")
    assert await users.names([BOB, CAROL]) == {BOB: "Bob"}
    assert await users.names([]) == {}
