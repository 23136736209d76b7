"""The broker's configuration: rendered whole, or refused."""

from pathlib import Path

import pytest

from fogbank.log.broker_config import BROKER_USERS, BrokerConfig, BrokerConfigError, BrokerTls
from fogbank.log.stream import StreamName

PASSWORDS = {user: f"{user}-0123456789abcdef" for user in BROKER_USERS}


def config(**changes: object) -> BrokerConfig:
    values: dict[str, object] = {
        "name": StreamName("north", 3),
        "listen": "127.0.0.1:4222",
        "monitor_listen": "127.0.0.1:8222",
        "store_dir": "/data",
        "passwords": PASSWORDS,
    }
    return BrokerConfig(**(values | changes))  # type: ignore[arg-type]


def test_it_is_about_one_fleets_log() -> None:
    text = config().render()
    assert "sync_interval: always" in text
    assert '"fogbank.log.north.3.scheduler.>"' in text
    assert "$JS.API.STREAM.INFO.FOGBANK_north_3" in text
    assert "@{" not in text
    assert "tls {" not in text
    for user, password in PASSWORDS.items():
        assert text.count(f'user: {user}, password: "{password}"') == 1


def test_tls_is_added_when_asked_for() -> None:
    tls = BrokerTls(Path("/c.pem"), Path("/k.pem"))
    assert 'cert_file: "/c.pem"' in config(tls=tls).render()
    assert "verify: true" not in config(tls=tls).render()
    demanding = BrokerTls(Path("/c.pem"), Path("/k.pem"), Path("/ca.pem"))
    assert "verify: true" in config(tls=demanding).render()


@pytest.mark.parametrize("password", ["", "short", 'a"quote-0123456789', "$VARIABLE-0123456789"])
def test_a_password_that_could_mean_something_else_is_refused(password: str) -> None:
    with pytest.raises(BrokerConfigError, match="user ledger") as caught:
        config(passwords=PASSWORDS | {"ledger": password}).render()
    assert not password or password not in str(caught.value)


def test_a_missing_password_is_refused() -> None:
    with pytest.raises(BrokerConfigError, match="operator"):
        config(passwords={}).render()


@pytest.mark.parametrize("path", ['/a"b', "/a\nb", "/a\\b", ""])
def test_a_path_that_cannot_be_quoted_is_refused(path: str) -> None:
    with pytest.raises(BrokerConfigError):
        config(store_dir=path).render()


def test_secrets_stay_out_of_its_repr() -> None:
    assert "0123456789abcdef" not in repr(config())
