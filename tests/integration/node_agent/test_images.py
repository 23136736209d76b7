"""Images from registries: credentials, digests, and what is told of a fetch."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.image_collector import ImageCollector, ImageUses, disk_of
from services.node_agent.adapters.images import Images
from services.node_agent.app.ports import ImageMissingError, RuntimeFaultError
from services.node_agent.core.garbage import DiskUse, ImageRules
from tests.support.containers import RUNS, Heard, PodmanEngine, image_registry

pytestmark = pytest.mark.container

LOGIN = "reader:open-sesame"


@pytest.fixture
async def engine(podman: PodmanEngine) -> AsyncIterator[Engine]:
    async with Engine(podman.url, first_pause_s=0.02, longest_pause_s=0.1) as opened:
        yield opened


async def test_a_registry_is_shown_its_credentials_and_nobody_else(
    podman: PodmanEngine, engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    images, heard = Images(engine, path), Heard()
    with image_registry(podman, LOGIN) as registry, structlog.testing.capture_logs() as logged:
        path.write_text(json.dumps({"auths": {}}))
        with pytest.raises(ImageMissingError, match=r"(?i)unauthorized"):
            await images.fetch(registry.image, heard)
        entry = {"auth": base64.b64encode(LOGIN.encode()).decode()}
        path.write_text(json.dumps({"auths": {registry.address: entry}}))
        await images.fetch(registry.image, heard)
        assert heard.told == [f"pulled {registry.digest}"]
        assert heard.noted
        assert all(text.startswith("pulling") for text in heard.noted)
    said = repr(logged)
    assert registry.image in said
    assert "sesame" not in said
    assert entry["auth"] not in said
    podman.podman("rmi", "--force", registry.image)


async def test_a_pinned_image_is_the_one_it_names(podman: PodmanEngine, engine: Engine) -> None:
    images, heard = Images(engine), Heard()
    with image_registry(podman) as registry:
        pinned = f"{registry.address}/page@{registry.digest}"
        await images.fetch(pinned, heard)
        assert heard.told == [f"pulled {registry.digest}"]
        await images.fetch(pinned, heard)
        assert len(heard.told) == 1, "it was there"
        other = f"{registry.address}/page@sha256:{'0' * 64}"
        with pytest.raises(RuntimeFaultError):
            await images.fetch(other, heard)
    podman.podman("rmi", "--force", pinned)


async def test_an_image_made_here_has_nothing_to_be_told(engine: Engine) -> None:
    heard = Heard()
    await Images(engine).fetch(RUNS, heard)
    assert not heard.told
    assert not heard.noted


async def test_images_that_nobody_needs_go_when_the_disk_is_full(
    podman: PodmanEngine, engine: Engine, tmp_path: Path
) -> None:
    now_us, disk = 0, DiskUse(100, 84)
    path = tmp_path / "images.json"
    uses = ImageUses(path, lambda: now_us)
    rules = ImageRules(85, 80, unused_us=60)
    with image_registry(podman) as registry:
        image = registry.image
        await Images(engine, uses=uses).fetch(image, Heard())

    async def collected(*needed: str) -> list[str]:
        # As an agent that came back: what it fetched is in the file.
        again = ImageUses(path, lambda: now_us)
        collector = ImageCollector(engine, again, rules, lambda: now_us, lambda _: disk)
        return await collector.collect(needed)

    now_us = 1_000
    assert await collected() == [], "there is room"
    disk = DiskUse(100, 99)
    assert await collected(image) == [], "it is needed"
    now_us += 59
    assert await collected() == [], "it was needed lately"
    now_us += 1
    nice = ("--ulimit", "nofile=64:64", "--ulimit", "nproc=64:64")
    podman.podman("run", "--detach", "--name", "somebodys", *nice, image)
    assert await collected() == [], "somebody's container runs on it"
    podman.podman("rm", "--force", "--time", "0", "somebodys")
    assert await collected() == [image]
    assert await collected() == []
    left = podman.podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert image not in left
    assert RUNS in left, "nobody's, and not fetched by this agent"


async def test_the_disk_that_counts_is_the_engines(podman: PodmanEngine, engine: Engine) -> None:
    info = await engine.call(lambda docker: docker.system.info())
    disk = disk_of(info["DockerRootDir"])
    assert disk is not None
    assert 0 < disk.used < disk.total
    assert Path(info["DockerRootDir"]).is_relative_to(podman.folder)
    assert disk_of(str(podman.folder / "absent")) is None
