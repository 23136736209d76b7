"""The compose file agrees with the services' settings and with the secrets that are made for it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import fields

from fogbank.local.deployment import prepare
from fogbank.log.setup import SetupSettings
from fogbank.log.stream import StreamName
from fogbank.runtime.settings import Settings
from services.gateway.settings import GatewaySettings
from services.ledger.settings import LedgerSettings
from services.node_agent.settings import AgentSettings
from services.scheduler.settings import SchedulerSettings
from tests.support.compose import COMPOSE_FILE

CONTENT: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = CONTENT["services"]
OURS: dict[str, type[Settings]] = {
    "log-setup": SetupSettings,
    "gateway-1": GatewaySettings,
    "gateway-2": GatewaySettings,
    "scheduler-1": SchedulerSettings,
    "scheduler-2": SchedulerSettings,
    "ledger": LedgerSettings,
    "agent": AgentSettings,
}


def test_every_service_is_known_here() -> None:
    assert set(SERVICES) == {*OURS, "nats", "postgres"}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_is_one(name: str) -> None:
    known = {field.name for field in fields(OURS[name])} | {"database_url"}
    for variable in SERVICES[name]["environment"]:
        field = variable.removesuffix("_FILE").removeprefix("FOG_").lower()
        assert field in known, f"{name}: {variable}"


@pytest.mark.parametrize("name", OURS)
def test_a_service_signs_in_as_itself(name: str) -> None:
    if name == "agent":
        return
    user = SERVICES[name]["environment"]["FOG_NATS_USER"]
    assert user == ("operator" if name == "log-setup" else name.partition("-")[0])
    mounted = {secret for secret in SERVICES[name]["secrets"] if secret.startswith("nats_")}
    assert mounted == {f"nats_{user}_password"}


def test_each_secret_is_made_and_used(tmp_path: Path) -> None:
    prepare(tmp_path / "secrets", StreamName())
    made = {path.name for path in (tmp_path / "secrets").iterdir()}
    declared = {name: Path(secret["file"]).name for name, secret in CONTENT["secrets"].items()}
    assert all(name == file for name, file in declared.items())
    assert set(declared) <= made
    # For `fog audit check` on the host, not for a container.
    assert made - set(declared) == {"nats_checker_password"}
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(declared)
    for name, service in SERVICES.items():
        for variable, value in service["environment"].items() if "environment" in service else ():
            if variable.endswith("_FILE") and str(value).startswith("/run/secrets/"):
                assert Path(value).name in service["secrets"], f"{name}: {variable}"
            assert not variable.endswith(("PASSWORD", "SECRET", "TOKEN", "KEY")), variable


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_watched_limited_and_bare(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    if name == "log-setup":
        assert service["restart"] == "on-failure"
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "the operator decides what is public"


def test_preparing_again_keeps_the_secrets(tmp_path: Path) -> None:
    prepare(tmp_path, StreamName())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    prepare(tmp_path, StreamName())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
