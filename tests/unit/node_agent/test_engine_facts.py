"""Container engines by what they answer."""

from typing import Any

import pytest

from services.node_agent.adapters.engine_facts import EngineFacts, engine_facts


@pytest.mark.parametrize(
    ("components", "name"),
    [
        ([{"Name": "Podman Engine", "Version": "5.4.2"}, {"Name": "Conmon"}], "podman"),
        ([{"Name": "Engine"}, {"Name": "containerd"}], "docker"),
        ([{"Name": "Another"}], "Another"),
        (None, ""),
    ],
)
def test_an_engine_goes_by_its_usual_name(components: Any, name: str) -> None:
    version = {"Version": "5.4.2", "Components": components}
    assert engine_facts(version, {}) == EngineFacts(name, "5.4.2")


def test_volumes_lie_beside_the_images() -> None:
    facts = engine_facts({}, {"DockerRootDir": "/var/lib/docker"})
    assert facts == EngineFacts("", "", "/var/lib/docker", "/var/lib/docker/volumes")
