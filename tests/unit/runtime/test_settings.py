"""Settings: where they come from, and what a bad one says."""

from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import fields

from fogbank.runtime.settings import (
    DatabaseSettings,
    FleetSettings,
    Secret,
    host_and_port,
    load,
    variables,
)


class Sample(FleetSettings, frozen=True):
    service: ClassVar[str] = "sample"

    jwt_secret: Secret | None = None
    retries: int = 3
    careful: bool = True


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "FOG_INSTANCE", "FOG_LOG_LEVEL", "FOG_FLEET"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_name_the_instance_by_service_and_process() -> None:
    settings = load(Sample)
    assert settings.instance.startswith("sample-")
    assert settings.fleet == "default"
    assert settings.nats_url == "nats://127.0.0.1:4222"


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOG_FLEET", "north")
    monkeypatch.setenv("FOG_LOG_LEVEL", "debug")
    monkeypatch.setenv("FOG_RETRIES", "7")
    settings = load(Sample)
    assert (settings.fleet, settings.log_level, settings.retries) == ("north", "DEBUG", 7)


def test_settings_cannot_be_changed() -> None:
    settings = load(Sample)
    with pytest.raises(AttributeError, match="immutable"):
        settings.retries = 4  # type: ignore[misc]


def test_a_secret_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    monkeypatch.setenv("FOG_JWT_SECRET_FILE", str(tmp_path / "secret"))
    settings = load(Sample)
    assert settings.jwt_secret is not None
    assert settings.jwt_secret.reveal() == "hush"
    assert "hush" not in repr(settings)


def test_the_projects_own_name_of_the_database_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://theirs")
    monkeypatch.setenv("FOG_DATABASE_URL", "postgresql://ours")
    assert load(DatabaseSettings).database_url.reveal() == "postgresql://ours"


@pytest.mark.parametrize("name", ["DATABASE_URL", "FOG_DATABASE_URL"])
def test_the_database_has_two_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "postgresql+asyncpg:///x")
    assert load(DatabaseSettings).database_url.reveal() == "postgresql+asyncpg:///x"


def test_the_database_comes_from_a_file_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("postgresql+asyncpg:///y")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    assert load(DatabaseSettings).database_url.reveal() == "postgresql+asyncpg:///y"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FOG_RETRIES", "many", "bad setting: FOG_RETRIES: Expected `int`, got 'many'"),
        ("FOG_METRICS_LISTEN", "9090", "bad setting: FOG_METRICS_LISTEN: '9090' is not host:port"),
        ("FOG_FLEET", "a.b", "bad setting: FOG_FLEET: Expected `str` matching regex"),
        ("FOG_INSTANCE", "a b", "bad setting: FOG_INSTANCE may hold"),
        ("FOG_JWT_SECRET_FILE", "/nowhere", "bad setting: FOG_JWT_SECRET_FILE: cannot read"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_64(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        load(Sample)
    assert caught.value.code == 64
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(said)


def test_every_bad_setting_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOG_RETRIES", "many")
    monkeypatch.setenv("FOG_LOG_REPLICAS", "6")
    monkeypatch.setenv("FOG_LOG_FORMAT", "xml")
    with pytest.raises(SystemExit):
        load(Sample)
    told = [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()]
    assert told == ["FOG_LOG_FORMAT", "FOG_LOG_REPLICAS", "FOG_RETRIES"]


@pytest.mark.parametrize(
    ("text", "meant"), [("true", True), ("On", True), ("1", True), ("no", False), ("OFF", False)]
)
def test_yes_and_no_have_many_names(
    text: str, meant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOG_CAREFUL", text)
    assert load(Sample).careful is meant


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_what_is_empty_is_not_set(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for field in fields(Sample):
        for name in variables(field):
            monkeypatch.setenv(name, text)
            monkeypatch.setenv(f"{name}_FILE", text)
    set_nowhere = load(Sample)
    assert (set_nowhere.retries, set_nowhere.fleet, set_nowhere.metrics_listen) == (
        Sample().retries,
        "default",
        None,
    )
    (tmp_path / "fleet").write_text("hills\n")
    monkeypatch.setenv("FOG_FLEET_FILE", str(tmp_path / "fleet"))
    assert load(Sample).fleet == "hills", "beside an empty one"


def test_white_space_around_a_value_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOG_RETRIES", " 5\n")
    monkeypatch.setenv("FOG_METRICS_LISTEN", "\t127.0.0.1:9000 ")
    monkeypatch.setenv("FOG_LOG_LEVEL", "debug ")
    settings = load(Sample)
    assert (settings.retries, settings.metrics_listen) == (5, "127.0.0.1:9000")
    assert settings.log_level == "DEBUG"


@pytest.mark.parametrize("text", ["2", "maybe"])
def test_what_is_neither_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOG_CAREFUL", text)
    with pytest.raises(SystemExit):
        load(Sample)
    assert "FOG_CAREFUL: " in (told := capsys.readouterr().err)
    assert "neither true nor false" in told


def test_a_value_and_a_file_at_once_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOG_JWT_SECRET", "hush")
    monkeypatch.setenv("FOG_JWT_SECRET_FILE", "/nowhere")
    with pytest.raises(SystemExit):
        load(Sample)
    said = capsys.readouterr().err
    assert "both set" in said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:0", ("::1", 0)),
        (":8000", ("", 8000)),
    ],
)
def test_addresses_come_apart(text: str, expected: tuple[str, int]) -> None:
    assert host_and_port(text) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", "host:http", "host:70000", "host:-1"])
def test_bad_addresses_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="not host:port"):
        host_and_port(text)
