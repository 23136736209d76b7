"""TLS in front of a PostgreSQL that was built without it: answers the request for TLS itself."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_SSL_REQUEST = bytes((0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F))
_CHUNK = 65_536


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, ssl.SSLError):
        writer.close()


@asynccontextmanager
async def tls_front(socket_folder: str, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Listen while the context lasts; yields the TCP port. Speaks nothing but TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                writer.close()
                return
            writer.write(b"S")
            await writer.start_tls(context)
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            writer.close()
            return
        back, forth = await asyncio.open_unix_connection(f"{socket_folder}/.s.PGSQL.5432")
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, forth))
            group.create_task(_pump(back, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
