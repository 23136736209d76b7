"""Which server a command talks to, and as whom."""

import json
import time
from pathlib import Path

import pytest

from fogbank.cli.failures import CommandError
from fogbank.cli.session import (
    Tokens,
    config_file,
    find_address,
    find_session,
    store_tokens,
)
from fogbank.local.data_dir import DataDir
from fogbank.local.state import LocalState


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FOG_ADDR", "FOG_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("FOG_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def local_system(tmp_path: Path) -> DataDir:
    data = DataDir(tmp_path / "data")
    data.create()
    LocalState("local:1", "http", "nats", "db", "admin", "pw", str(data.root), {}).write(
        data, ready=True, at=0
    )
    return data


def store(address: str = "stored:1", ends_at: float = 10e9) -> Tokens:
    tokens = Tokens("access", "refresh", ends_at)
    store_tokens(config_file(), address, "alice", tokens)
    return tokens


def test_without_anything_it_says_what_to_do() -> None:
    with pytest.raises(CommandError) as caught:
        find_session()
    assert "fog up" in caught.value.hint
    assert "fog login" in caught.value.hint


def test_the_environment_comes_first(
    monkeypatch: pytest.MonkeyPatch, local_system: DataDir
) -> None:
    store()
    monkeypatch.setenv("FOG_ADDR", "env:1")
    monkeypatch.setenv("FOG_TOKEN", "t")
    session = find_session()
    assert (session.address, session.token, session.source) == ("env:1", "t", "FOG_ADDR")


def test_a_token_alone_goes_to_the_known_server(
    monkeypatch: pytest.MonkeyPatch, local_system: DataDir
) -> None:
    monkeypatch.setenv("FOG_TOKEN", "t")
    assert find_session().address == "local:1"


def test_a_login_comes_before_the_local_system(local_system: DataDir) -> None:
    tokens = store()
    session = find_session()
    assert session.address == "stored:1"
    assert session.tokens == tokens
    assert session.user == "alice"


def test_the_local_system_is_signed_in_to_as_its_first_user(local_system: DataDir) -> None:
    session = find_session()
    assert (session.address, session.user, session.password) == ("local:1", "admin", "pw")
    assert session.store == local_system.session_file
    assert "pw" not in repr(LocalState("a", "b", "c", "d", "e", "pw", "f", {}))


def test_an_address_that_nobody_signed_in_to(
    monkeypatch: pytest.MonkeyPatch, local_system: DataDir
) -> None:
    store()
    monkeypatch.setenv("FOG_ADDR", "other:1")
    with pytest.raises(CommandError, match="not signed in at other:1"):
        find_session()


def test_a_stored_login_is_not_sent_elsewhere(
    monkeypatch: pytest.MonkeyPatch, local_system: DataDir
) -> None:
    store()
    monkeypatch.setenv("FOG_ADDR", "local:1")
    session = find_session()
    assert session.tokens is None
    assert session.user == "admin"


def test_the_address_of_a_login(monkeypatch: pytest.MonkeyPatch, local_system: DataDir) -> None:
    assert find_address("flag:1") == ("flag:1", "--addr")
    assert find_address(None)[0] == "local:1"
    store()
    assert find_address(None)[0] == "stored:1"
    monkeypatch.setenv("FOG_ADDR", "env:1")
    assert find_address(None) == ("env:1", "FOG_ADDR")


def test_tokens_are_stored_for_their_owner_alone() -> None:
    store()
    assert config_file().stat().st_mode & 0o777 == 0o600
    assert config_file().parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(config_file().read_text())["address"] == "stored:1"


def test_a_token_is_fresh_until_a_minute_before_its_end() -> None:
    assert Tokens("a", "r", time.time() + 120).is_fresh
    assert not Tokens("a", "r", time.time() + 30).is_fresh


def test_a_broken_store_is_as_good_as_none(local_system: DataDir) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text("{")
    assert find_session().address == "local:1"
