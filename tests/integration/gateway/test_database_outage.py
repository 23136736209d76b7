"""A database that is there and refuses to serve is an outage, not a defect of the gateway."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from fogbank.domain.errors import UnavailableError
from services.gateway.adapters.database import make_engine, ping, transaction

_SSL_REQUEST = 80877103


@asynccontextmanager
async def refusing_server(sqlstate: str, words: str) -> AsyncIterator[str]:
    """Speak PostgreSQL's protocol as far as refusing everybody; yield the address."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size, code = struct.unpack("!II", await reader.readexactly(8))
        if code == _SSL_REQUEST:
            writer.write(b"N")
            size, _version = struct.unpack("!II", await reader.readexactly(8))
        await reader.readexactly(size - 8)
        fields = ("SFATAL", "VFATAL", f"C{sqlstate}", f"M{words}")
        body = b"".join(field.encode() + b"\0" for field in fields) + b"\0"
        writer.write(b"E" + struct.pack("!I", len(body) + 4) + body)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield f"postgresql://user:password@127.0.0.1:{server.sockets[0].getsockname()[1]}/fogbank"


@pytest.mark.parametrize(
    ("sqlstate", "words"),
    [
        ("57P03", "the database system is starting up"),
        ("57P01", "terminating connection due to administrator command"),
        ("53300", "sorry, too many clients already"),
    ],
)
async def test_a_database_that_refuses_for_now_is_out_of_reach(sqlstate: str, words: str) -> None:
    async with refusing_server(sqlstate, words) as address:
        engine = make_engine(address)
        try:
            with pytest.raises(UnavailableError) as caught:
                async with transaction(engine) as connection:
                    await connection.execute(text("SELECT 1"))
            assert caught.value.reason == "DATABASE_UNAVAILABLE"
            assert not await ping(engine)
        finally:
            await engine.dispose()
