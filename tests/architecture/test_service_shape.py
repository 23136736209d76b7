"""Whoever knows one service knows them all."""

import pytest

from tests.architecture.source_tree import ROOT, report

SERVICES = ("gateway", "ledger", "node_agent", "scheduler")
MODULES = ("main", "settings")
MODULES_OR_PACKAGES = ("grpc_api", "app", "adapters", "core")
# The node agent serves nobody: it dials a gateway, and its stream is an adapter.
NOT_NEEDED = {("node_agent", "grpc_api")}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_rooms_of_a_service(service: str) -> None:
    home = ROOT / "services" / service
    problems = [
        f"{service} lacks {name}.py" for name in MODULES if not (home / f"{name}.py").is_file()
    ]
    problems += [
        f"{service} lacks {name}.py or {name}/"
        for name in MODULES_OR_PACKAGES
        if (service, name) not in NOT_NEEDED
        and not (home / f"{name}.py").is_file()
        and not (home / name / "__init__.py").is_file()
    ]
    assert not problems, report(
        problems, "docs/architecture.md says what belongs into which room of a service."
    )


def test_there_is_no_service_without_a_check() -> None:
    found = {path.parent.name for path in (ROOT / "services").glob("*/__init__.py")}
    assert found <= set(SERVICES), report(
        sorted(found - set(SERVICES)), "Add the new service to SERVICES in this test."
    )
