"""What a container engine says of itself: name, version, where images and volumes lie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # simulated nodes do without what an engine is spoken to with
    from services.node_agent.adapters.engine import Engine

# How the engines call themselves in the list of their components.
_NAMES: Mapping[str, str] = {"Engine": "docker", "Podman Engine": "podman"}
# Docker's and podman's place for volumes, within the folder that has the images.
_VOLUMES = "volumes"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """An engine; its folders are paths on its own host, empty if it doesn't say."""

    name: str
    version: str
    image_folder: str = ""
    volume_folder: str = ""


# Asks the engine; RuntimeFaultError if it gives no answer.
ReadEngine = Callable[[], Awaitable[EngineFacts]]


def engine_reader(engine: Engine) -> ReadEngine:
    """Return what asks an engine for its facts."""

    async def read() -> EngineFacts:
        version = await engine.call(lambda docker: docker.version())
        return engine_facts(version, await engine.call(lambda docker: docker.system.info()))

    return read


def engine_facts(version: Mapping[str, Any], info: Mapping[str, Any]) -> EngineFacts:
    """Return the facts in an engine's answers to `/version` and `/info`.

    An engine of another kind is called as its first component is.
    """
    components = [str(each.get("Name", "")) for each in version.get("Components") or ()]
    known = (_NAMES[name] for name in components if name in _NAMES)
    root = str(info.get("DockerRootDir") or "")
    return EngineFacts(
        name=next(known, components[0] if components else ""),
        version=str(version.get("Version") or ""),
        image_folder=root,
        volume_folder=str(Path(root, _VOLUMES)) if root else "",
    )
