"""The gateway's own tables after the database was lost: out of a backup, into another database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.errors import UnauthenticatedError
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.operator_error import OperatorError
from services.gateway.adapters import database
from services.gateway.adapters.api_tokens import PostgresApiTokens
from services.gateway.adapters.backup import TABLES, restore_backup, write_backup
from services.gateway.adapters.database import make_engine, metadata
from services.gateway.adapters.denials import PostgresDenials
from services.gateway.adapters.invites import PostgresInvites
from services.gateway.adapters.passwords import Argon2Passwords, HashingCost
from services.gateway.adapters.sealing import SealedEnvironments
from services.gateway.adapters.tokens import JwtAccessTokens, SigningKey
from services.gateway.adapters.users import PostgresRefreshTokens, PostgresUsers
from services.gateway.app.identity import Identity
from services.gateway.app.ports import InviteTerms, OrganizationKey
from services.gateway.app.service_accounts import ApiToken, digest_of
from services.gateway.core.service_accounts import Scope
from tests.integration.gateway.conftest import migrated
from tests.support.fleet_log import an_id
from tests.support.postgres import PostgresServer

KEY = "a sealing key of more than 32 bytes, for tests"
OURS = OrganizationKey(2, an_id("alice"))
CHEAP = HashingCost(time_cost=1, memory_kib=8, parallelism=1)
TOKEN = "fogtok_of-a-test"
NOW_US = SystemClock().now_us()


class Accounts:
    """All that stands on one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.passwords = Argon2Passwords(CHEAP)
        self.denials = PostgresDenials(engine, SystemClock())
        self.invites = PostgresInvites(engine, KEY)
        self.environments = SealedEnvironments(engine, KEY, SystemClock())
        self.tokens = PostgresApiTokens(engine, SystemClock().now_us)
        self.identity = Identity(
            PostgresUsers(engine),
            PostgresRefreshTokens(engine),
            self.passwords,
            JwtAccessTokens(SigningKey("0123456789abcdef" * 2), 1800),
            self.denials,
            api_tokens=self.tokens,
            clock=SystemClock(),
            refresh_lifetime_s=3600,
        )

    async def count(self, name: str) -> int:
        async with self.engine.connect() as connection:
            statement = select(func.count()).select_from(metadata.tables[f"gateway.{name}"])
            return int((await connection.execute(statement)).scalar_one())


@dataclass
class Kept:
    """What was there before."""

    user_id: str
    refresh_token: str
    access_token: str
    env_key: str
    code: str


@pytest.fixture
async def before(engine: AsyncEngine) -> AsyncIterator[Accounts]:
    accounts = Accounts(engine)
    yield accounts
    accounts.passwords.close()


@pytest.fixture
async def after(postgres: PostgresServer) -> AsyncIterator[Accounts]:
    async with postgres.database("gateway", migrated) as url:
        accounts = Accounts(make_engine(url))
        yield accounts
        accounts.passwords.close()
        await accounts.engine.dispose()


async def filled(accounts: Accounts) -> Kept:
    """Let there be something in every table."""
    await accounts.identity.ensure_admin("admin", "secret-0")
    user = await accounts.identity.register("Bob", "secret-1")
    session, gone = [await accounts.identity.login("bob", "secret-1") for _ in range(2)]
    await accounts.identity.logout(await accounts.identity.authenticate(gone.access_token))
    env_key = await accounts.environments.seal({"PASSWORD": "of-a-deployment"})
    invite = await accounts.invites.renew(OURS, InviteTerms(max_uses=2), "request")
    assert await accounts.invites.redeem(invite.code, user.id, NOW_US)
    token = ApiToken(
        *(an_id("token"), an_id("account"), "ci", OURS, frozenset({Scope.DEPLOY})),
        *(user.id, NOW_US, NOW_US + 3600 * 1_000_000),
    )
    await accounts.tokens.add(token, digest_of(TOKEN), "request")
    for table in TABLES:
        assert await accounts.count(table.name), table.name
    return Kept(user.id, session.refresh_token, gone.access_token, env_key, invite.code)


async def test_everybody_goes_on_after_the_database_was_lost(
    before: Accounts, after: Accounts, tmp_path: Path
) -> None:
    kept, file = await filled(before), tmp_path / "backup"
    written = await write_backup(before.engine, KEY, file)
    assert file.stat().st_mode & 0o777 == 0o600
    # As a gateway that started on the empty database made it.
    await after.identity.ensure_admin("admin", "another-secret")
    # As the repeat of a request that made an organization lets it make.
    await after.invites.made(OURS)
    minted = await after.invites.of([OURS])
    assert await restore_backup(after.engine, KEY, file) == written

    session = await after.identity.login("bob", "secret-1")
    assert (await after.identity.authenticate(session.access_token)).user_id == kept.user_id
    await after.identity.login("admin", "secret-0")
    assert (await after.environments.unseal([kept.env_key]))[kept.env_key] == {
        "PASSWORD": "of-a-deployment"
    }
    assert (await after.invites.of([OURS]))[2].uses == 1
    assert await after.invites.find(kept.code, NOW_US)
    assert await after.invites.find(minted[2].code, NOW_US) is None
    service = await after.identity.authenticate(TOKEN)
    assert service.actor == f"service-account/{an_id('account')}"
    await after.denials.read()
    with pytest.raises(UnauthenticatedError):
        await after.identity.authenticate(kept.access_token)
    # A refresh token of before could have been used since.
    with pytest.raises(UnauthenticatedError):
        await after.identity.refresh(kept.refresh_token)


async def test_every_table_is_in_the_backup_or_holds_sessions() -> None:
    sessions = {"refresh_families", "refresh_tokens"}
    assert {table.name for table in metadata.tables.values()} - sessions == {
        table.name for table in TABLES
    }


async def test_a_backup_shows_nothing_of_what_is_in_it(before: Accounts, tmp_path: Path) -> None:
    await filled(before)
    await write_backup(before.engine, KEY, tmp_path / "backup")
    content = (tmp_path / "backup").read_bytes()
    for word in (b"Bob", b"argon2", b"users", an_id("account").encode(), b"gateway"):
        assert word not in content
    assert [each.name for each in tmp_path.iterdir()] == ["backup"]  # noqa: ASYNC240
    with pytest.raises(OperatorError, match="there already"):
        await write_backup(before.engine, KEY, tmp_path / "backup")
    assert (tmp_path / "backup").read_bytes() == content


async def test_what_is_no_whole_backup_changes_nothing(
    before: Accounts, after: Accounts, tmp_path: Path
) -> None:
    await filled(before)
    good, bad = tmp_path / "good", tmp_path / "bad"
    await write_backup(before.engine, KEY, good)
    content = good.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for wrong in (b"", b"nonsense", content[:30], content[:-1], content + b"x", bytes(flipped)):
        bad.write_bytes(wrong)
        with pytest.raises(OperatorError, match=r"no backup|damaged"):
            await restore_backup(after.engine, KEY, bad)
    with pytest.raises(OperatorError, match="FOG_SEALING_KEY"):
        await restore_backup(after.engine, f"another {KEY}", good)
    with pytest.raises(OperatorError, match="cannot read"):
        await restore_backup(after.engine, KEY, tmp_path / "none")
    assert await after.count("users") == 0


async def test_tables_that_are_in_use_are_left_alone(
    before: Accounts, after: Accounts, tmp_path: Path
) -> None:
    await filled(before)
    await write_backup(before.engine, KEY, tmp_path / "backup")
    await after.identity.register("carol", "secret-2")
    with pytest.raises(OperatorError, match="1 in users"):
        await restore_backup(after.engine, KEY, tmp_path / "backup")
    await after.identity.login("carol", "secret-2")
    invite = await after.invites.renew(OURS, InviteTerms(), "asked for")
    with pytest.raises(OperatorError, match="1 in invite_codes"):
        await restore_backup(after.engine, KEY, tmp_path / "backup")
    assert await after.invites.find(invite.code, NOW_US)
    with pytest.raises(OperatorError, match="2 in users"):
        await restore_backup(before.engine, KEY, tmp_path / "backup")


async def test_a_backup_of_a_newer_release_is_refused(
    before: Accounts, after: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(before)
    await write_backup(before.engine, KEY, tmp_path / "backup")
    fewer = tuple(table for table in TABLES if table is not database.api_tokens)
    monkeypatch.setattr("services.gateway.adapters.backup.TABLES", fewer)
    with pytest.raises(OperatorError, match="newer release"):
        await restore_backup(after.engine, KEY, tmp_path / "backup")
    async with after.engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1 FROM gateway.users"))).first() is None
