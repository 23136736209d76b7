"""Removes images that nobody needs, of those that this agent fetched; others' are left alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from http import HTTPStatus
from pathlib import Path
from threading import Lock

import psutil
import structlog
from aiodocker import Docker, DockerError

from services.node_agent.adapters.engine import Engine, EngineRefusedError
from services.node_agent.adapters.node_folder import write_whole
from services.node_agent.adapters.one_container import raise_unless_missing
from services.node_agent.app.figures import ENGINE_DISK_PERCENT, IMAGES_REMOVED
from services.node_agent.app.ports import Clock
from services.node_agent.core.garbage import (
    DiskUse,
    FetchedImage,
    ImageRules,
    is_full,
    removable,
)

_log = structlog.get_logger(__name__)

# Measures the disk that holds a folder; None if it is not on this host.
MeasureDisk = Callable[[str], DiskUse | None]


class ImageUses:
    """Which images this agent fetched, and when each was last needed, kept in a file.

    Without the file, or with a broken one, none is known, and so none is removed.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._used_at_us: dict[str, int] | None = None
        # Several images may be fetched at once, each told of in a thread of its own.
        self._lock = Lock()

    def all(self) -> dict[str, int]:
        """Return when each image was last needed, in microseconds since 1970."""
        if self._used_at_us is None:
            try:
                read = json.loads(self._path.read_text(encoding="utf-8"))
                self._used_at_us = {str(name): int(at_us) for name, at_us in read.items()}
            except FileNotFoundError:
                self._used_at_us = {}
            except (ValueError, TypeError, AttributeError) as error:
                _log.warning("fetched images are forgotten", file=str(self._path), why=str(error))
                self._used_at_us = {}
        return self._used_at_us

    def fetched(self, image: str) -> None:
        """Take note of an image that was fetched."""
        self.all()[image] = self._clock()
        self.save()

    def need(self, images: Collection[str]) -> None:
        """Take note that images are needed now, of those that were fetched."""
        for image in self.all().keys() & set(images):
            self.all()[image] = self._clock()

    def forget(self, image: str) -> None:
        """Take note that an image is gone."""
        self.all().pop(image, None)

    def save(self) -> None:
        """Write the file anew. What it says is lost by a power cut at most for the last period."""
        with self._lock:
            write_whole(self._path, json.dumps(self.all(), sort_keys=True).encode(), sync=False)


class ImageCollector:
    """Looks through an engine's images whenever it is asked to."""

    def __init__(
        self,
        engine: Engine,
        uses: ImageUses,
        rules: ImageRules,
        clock: Clock,
        measure_disk: MeasureDisk | None = None,
    ) -> None:
        self._engine = engine
        self._uses = uses
        self._rules = rules
        self._clock = clock
        self._measure_disk = measure_disk or disk_of
        self._told_why_not = False

    async def collect(self, needed: Collection[str]) -> list[str]:
        """Remove images if the engine's disk is full; return their names.

        Raises:
            RuntimeFaultError: the engine gives no answer.
        """
        self._uses.need(needed)
        await asyncio.to_thread(self._uses.save)
        info = await self._engine.call(lambda docker: docker.system.info())
        disk = await asyncio.to_thread(self._measure_disk, str(info.get("DockerRootDir") or ""))
        if disk is None:
            self._tell_why_not(str(info.get("DockerRootDir")))
            return []
        ENGINE_DISK_PERCENT.set(disk.percent)
        if not is_full(disk, self._rules):
            return []
        images = [each for name in list(self._uses.all()) if (each := await self._look(name))]
        chosen = removable(images, needed, disk, self._rules, self._clock())
        return [image.name for image in chosen if await self._remove(image, disk)]

    async def _look(self, name: str) -> FetchedImage | None:
        async def size(docker: Docker) -> int | None:
            try:
                return int((await docker.images.inspect(name))["Size"])
            except DockerError as error:
                raise_unless_missing(error)
                return None

        found = await self._engine.call(size)
        if found is None:
            self._uses.forget(name)
            return None
        return FetchedImage(name, found, self._uses.all()[name])

    async def _remove(self, image: FetchedImage, disk: DiskUse) -> bool:
        if self._uses.all().get(image.name, self._clock()) > image.used_at_us:
            return False  # somebody began to need it meanwhile
        try:
            # Not by force: the engine knows of containers that nobody told this agent of.
            await self._engine.call(lambda docker: docker.images.delete(image.name))
        except EngineRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                _log.info("image not removed", image=image.name, why=str(error))
                return False
        self._uses.forget(image.name)
        await asyncio.to_thread(self._uses.save)
        IMAGES_REMOVED.inc()
        _log.info(
            "removed image", image=image.name, bytes=image.size, disk_percent=round(disk.percent)
        )
        return True

    def _tell_why_not(self, folder: str) -> None:
        if not self._told_why_not:
            self._told_why_not = True
            _log.warning("images are not removed: the engine's disk is not seen", folder=folder)


def disk_of(folder: str) -> DiskUse | None:
    """Measure the disk that holds a folder; None if there is no such folder here."""
    try:
        found = psutil.disk_usage(folder)
    except OSError:
        return None
    # What only root may fill counts as taken, as the engine sees it.
    return DiskUse(found.used + found.free, found.used)
