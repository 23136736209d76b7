"""How a service gets at its fleet's log: connected as its settings say, and checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsConnection, NatsCredentials, connect
from fogbank.log.port import Writer
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream, require_sync_always
from fogbank.runtime.settings import FleetSettings
from fogbank.runtime.tls import client_tls


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A connection to the broker, for plain messages, and the log on it."""

    connection: NatsConnection
    name: StreamName
    log: JetStreamLog


def credentials_of(settings: FleetSettings) -> NatsCredentials:
    """Return what a process with these settings proves its identity with.

    Raises:
        TlsFileError: a certificate or key can't be used.
    """
    password = settings.nats_password
    return NatsCredentials(
        user=settings.nats_user,
        password=password.reveal() if password else None,
        credentials_file=settings.nats_credentials,
        tls=client_tls(settings.nats_tls_ca, settings.nats_tls_cert, settings.nats_tls_key),
    )


@asynccontextmanager
async def open_log(settings: FleetSettings) -> AsyncIterator[OpenLog]:
    """Connect, refuse a broker or a stream that can forget, and hold the log open.

    A stream that is missing is made if the broker lets us; that is the operator's to do where
    each service has a user of its own.

    Raises:
        LogUnavailableError: no broker answers.
        LogConfigurationError: the broker or the stream can lose commits, or there is no stream
            and we may not make it; says what to do.
        LogPermissionError: the broker refuses our credentials.
        TlsFileError: a certificate or key can't be used.
    """
    credentials = credentials_of(settings)
    async with connect(settings.nats_url, settings.instance, credentials) as connection:
        await require_sync_always(settings.nats_monitor_url, credentials.tls)
        name = StreamName(settings.fleet, settings.generation)
        stream = StreamSettings(max_bytes=settings.log_max_bytes, replicas=settings.log_replicas)
        await ensure_stream(connection, name, stream)
        writer = Writer(settings.service, settings.instance)
        yield OpenLog(connection, name, JetStreamLog(connection, name, writer))
