"""The services' connections to the database over TLS, and what is refused."""

import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.runtime.tls import client_tls
from services.gateway.adapters import database as gateway
from services.ledger.adapters import database as ledger
from tests.support.certificates import Authority
from tests.support.postgres import PostgresServer
from tests.support.tls_front import tls_front

MakeEngine = Callable[[str, ssl.SSLContext | None], AsyncEngine]


def gateways(url: str, tls: ssl.SSLContext | None) -> AsyncEngine:
    return gateway.make_engine(url, tls=tls)


def ledgers(url: str, tls: ssl.SSLContext | None) -> AsyncEngine:
    return ledger.make_engine(url, 1, tls)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def url(postgres: PostgresServer, authority: Authority) -> AsyncIterator[str]:
    certificate, key = authority.issue("database")
    async with tls_front(postgres.socket_folder, certificate, key) as port:
        yield f"postgresql+asyncpg://postgres:secret@127.0.0.1:{port}/postgres"


async def answer(engine: AsyncEngine) -> int:
    try:
        async with engine.connect() as connection:
            return int((await connection.execute(text("SELECT 42"))).scalar_one())
    finally:
        await engine.dispose()


@pytest.mark.parametrize("make", [gateways, ledgers])
async def test_a_trusted_database_is_spoken_to(
    make: MakeEngine, url: str, authority: Authority
) -> None:
    assert await answer(make(url, client_tls(authority.ca))) == 42


@pytest.mark.parametrize("make", [gateways, ledgers])
async def test_a_strangers_certificate_is_refused(
    make: MakeEngine, url: str, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(ssl.SSLCertVerificationError):
        await answer(make(url, client_tls(stranger.ca)))


@pytest.mark.parametrize("make", [gateways, ledgers])
async def test_the_address_may_ask_for_it_too(make: MakeEngine, url: str) -> None:
    assert await answer(make(f"{url}?ssl=require", None)) == 42


@pytest.mark.parametrize("make", [gateways, ledgers])
async def test_without_it_nothing_is_said(make: MakeEngine, url: str) -> None:
    with pytest.raises((DBAPIError, OSError)):
        await answer(make(f"{url}?ssl=disable", None))
