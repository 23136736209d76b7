"""A broker as it runs in earnest: rendered from the project's own template, with its users."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from fogbank.log.broker_config import BROKER_USERS, BrokerConfig, BrokerTls
from fogbank.log.nats_connection import NatsCredentials
from fogbank.log.stream import StreamName
from tests.support.nats import NatsServer, nats_server


def password_of(user: str) -> str:
    """Return the password that a broker under test knows a user by."""
    return f"password-of-{user}"


def as_user(user: str) -> NatsCredentials:
    """Return what a user of a guarded broker signs in with."""
    return NatsCredentials(user=user, password=password_of(user))


@contextmanager
def guarded_broker(name: StreamName, tls: BrokerTls | None = None) -> Generator[NatsServer]:
    """Run a broker with a user for each service while the context lasts; it has no stream yet."""

    def render(listen: str, monitor_listen: str, store: Path) -> str:
        return BrokerConfig(
            name=name,
            listen=listen,
            monitor_listen=monitor_listen,
            store_dir=str(store),
            passwords={user: password_of(user) for user in BROKER_USERS},
            tls=tls,
        ).render()

    with nats_server(render=render) as server:
        yield server
