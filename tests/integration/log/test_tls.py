"""The log over TLS, on a broker with the project's own configuration; and what is refused."""

from collections.abc import Generator
from pathlib import Path

import pytest

from fogbank.log.broker_config import BrokerTls
from fogbank.log.nats_connection import NatsCredentials, connect
from fogbank.log.opening import open_log
from fogbank.log.port import LogUnavailableError
from fogbank.log.setup import SetupSettings, set_up
from fogbank.log.stream import StreamName
from fogbank.runtime.settings import FleetSettings, Secret
from fogbank.runtime.tls import TlsFileError, client_tls
from tests.support.broker_users import as_user, guarded_broker, password_of
from tests.support.certificates import Authority
from tests.support.nats import NatsServer
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def broker(authority: Authority) -> Generator[NatsServer]:
    """A broker that shows a certificate and demands one."""
    certificate, key = authority.issue("broker")
    with guarded_broker(StreamName(), BrokerTls(certificate, key, authority.ca)) as server:
        yield server


def settings(
    broker: NatsServer, authority: Authority, user: str, kind: type[FleetSettings] = FleetSettings
) -> FleetSettings:
    certificate, key = authority.issue(user)
    return kind(
        instance=user,
        nats_url=broker.url,
        nats_monitor_url=broker.monitor_url,
        nats_user=user,
        nats_password=Secret(password_of(user)),
        nats_tls_ca=authority.ca,
        nats_tls_cert=certificate,
        nats_tls_key=key,
        log_max_bytes=8 * 1024**2,
    )


async def test_a_service_opens_the_log_that_the_operator_made(
    broker: NatsServer, authority: Authority
) -> None:
    await set_up(settings(broker, authority, "operator", SetupSettings))
    async with open_log(settings(broker, authority, "ledger")) as opened:
        assert opened.connection.client._transport is not None
        assert await opened.log.last_sequence() == 0
    # Once more changes nothing.
    await set_up(settings(broker, authority, "operator", SetupSettings))


async def refused(broker: NatsServer, credentials: NatsCredentials, why: str) -> None:
    """Nobody is let in; on a busy machine a second may be too short to learn why."""

    async def told() -> bool:
        with pytest.raises(LogUnavailableError) as error:
            async with connect(broker.url, "x", credentials, timeout_s=1):
                pass
        return why in str(error.value)

    await eventually(told, what=f"the reason {why!r}")


async def test_a_broker_signed_by_a_stranger_is_refused(broker: NatsServer, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    credentials = NatsCredentials(
        user="ledger", password=password_of("ledger"), tls=client_tls(stranger.ca)
    )
    await refused(broker, credentials, "CERTIFICATE_VERIFY_FAILED")


async def test_a_client_without_a_certificate_is_turned_away(
    broker: NatsServer, authority: Authority
) -> None:
    credentials = NatsCredentials(
        user="ledger", password=password_of("ledger"), tls=client_tls(authority.ca)
    )
    with pytest.raises(LogUnavailableError, match="no broker answered"):
        async with connect(broker.url, "x", credentials, timeout_s=1):
            pass


async def test_a_broker_without_tls_gets_no_password(authority: Authority) -> None:
    credentials = NatsCredentials(
        user="ledger", password=password_of("ledger"), tls=client_tls(authority.ca)
    )
    with guarded_broker(StreamName()) as plain:
        await refused(plain, credentials, "offers no TLS")
        async with connect(plain.url, "x", as_user("ledger")):
            pass


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(TlsFileError, match=r"wrong\.pem"):
        client_tls(wrong)
    with pytest.raises(TlsFileError, match=r"missing\.pem"):
        client_tls(tmp_path / "missing.pem")
    assert client_tls(None) is None
