"""The gateway's settings, those of the documents included."""

import pytest

from fogbank.runtime.settings import load
from services.gateway.settings import GatewaySettings

NEEDED = {
    "FOG_AGENT_TOKEN": "agents",
    "FOG_SEALING_KEY": "sealing",
    "JWT_SECRET": "0123456789abcdef0123456789abcdef",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def test_the_defaults_are_those_of_the_project() -> None:
    settings = load(GatewaySettings)

    assert settings.http_listen == "127.0.0.1:8000"
    assert settings.jwt_expire_minutes == 30
    policy = settings.first_policy
    assert (policy.resource_weight, policy.cpu_load_weight, policy.locality_weight) == (
        0.4,
        0.15,
        0.3,
    )
    assert (policy.heartbeat_period_ms, policy.lost_after_ms) == (5_000, 30_000)
    assert settings.bounds.replicas.high == 1_000


def test_the_documents_names_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "JWT_EXPIRE_MINUTES": "5",
        "API_HOST": "0.0.0.0",  # noqa: S104 (nothing listens here)
        "API_PORT": "8001",
        "LOAD_WEIGHT": "0.5",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load(GatewaySettings)

    assert settings.jwt_expire_minutes == 5
    assert settings.http_listen == "0.0.0.0:8001"
    assert settings.first_policy.memory_load_weight == 0.25


def test_the_projects_own_names_win(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "JWT_EXPIRE_MINUTES": "5",
        "FOG_JWT_EXPIRE_MINUTES": "6",
        "API_PORT": "8001",
        "FOG_HTTP_LISTEN": "127.0.0.1:8002",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load(GatewaySettings)

    assert settings.jwt_expire_minutes == 6
    assert settings.http_listen == "127.0.0.1:8002"


def test_an_empty_address_leaves_it_to_the_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOG_HTTP_LISTEN", "")
    monkeypatch.setenv("API_HOST", "10.0.0.1")
    monkeypatch.setenv("API_PORT", " 8001")
    assert load(GatewaySettings).http_listen == "10.0.0.1:8001"
    monkeypatch.setenv("API_HOST", "")
    monkeypatch.setenv("API_PORT", "")
    assert load(GatewaySettings).http_listen == "127.0.0.1:8000"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("FOG_AGENT_TOKEN", "", "FOG_AGENT_TOKEN (or FOG_AGENT_TOKEN_FILE) is missing"),
        ("FOG_SEALING_KEY", "", "FOG_SEALING_KEY (or FOG_SEALING_KEY_FILE) is missing"),
        ("ENABLE_SCHEDULER", "true", "a gateway has no scheduler inside"),
        ("FOG_GRPC_LISTEN", "nowhere", "FOG_GRPC_LISTEN"),
        ("JWT_ALGORITHM", "none", "JWT_ALGORITHM"),
        ("RESOURCE_WEIGHT", "2", "RESOURCE_WEIGHT"),
        ("FOG_MAX_REPLICAS", "3001", "FOG_MAX_REPLICAS: Expected `int` <= 3000"),
    ],
)
def test_bad_settings_end_the_process_with_a_word(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    complaint: str,
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        load(GatewaySettings)

    assert ended.value.code == 64
    assert complaint in capsys.readouterr().err


def test_metrics_can_be_taken_off_the_public_port(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(GatewaySettings).http_metrics
    monkeypatch.setenv("FOG_HTTP_METRICS", "false")
    assert not load(GatewaySettings).http_metrics


def test_trusted_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(GatewaySettings).trusted_proxies == ()
    monkeypatch.setenv("FOG_TRUSTED_PROXIES", "10.0.0.7, 10.1.0.0/16,2001:db8::/32")
    settings = load(GatewaySettings)
    assert settings.trusted_proxies == ("10.0.0.7", "10.1.0.0/16", "2001:db8::/32")


@pytest.mark.parametrize("wrong", ["*", "proxy.example", "10.1.2.3/16"])
def test_what_is_no_address_is_no_trusted_proxy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    monkeypatch.setenv("FOG_TRUSTED_PROXIES", wrong)
    with pytest.raises(SystemExit):
        load(GatewaySettings)
    assert "FOG_TRUSTED_PROXIES" in capsys.readouterr().err
