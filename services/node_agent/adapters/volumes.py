"""Volumes of an engine: made, measured, and begun only where its disk has room for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import psutil
from aiodocker import Docker, DockerError
from aiodocker.volumes import DockerVolume

from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.one_container import raise_unless_missing
from services.node_agent.app.ports import RuntimeFaultError

_GIB = 1 << 30
# Files beyond these are not counted: a look must end, whatever a container writes.
_MOST_FILES = 100_000
# The kernel counts what a file takes in these, whatever the blocks of its disk.
_BLOCK_BYTES = 512


async def make_volume(docker: Docker, name: str, labels: Mapping[str, str]) -> None:
    """Make a volume; one that is there stays as it is."""
    volumes: Any = docker.volumes
    await volumes.create({"Name": name, "Labels": dict(labels)})


async def check_room(docker: Docker, sizes_gib: Mapping[str, int]) -> None:
    """Look whether the engine's disk has room for volumes, by the size of each; for all together.

    Those that are there count for nothing: elsewhere their data would be missing.

    Raises:
        RuntimeFaultError: it has less, as far as this host sees that disk.
    """
    new = [name for name in sizes_gib if await _folder_of(docker, name) is None]
    if not new:
        return
    info = await docker.system.info()
    free_bytes = await asyncio.to_thread(_free_bytes, str(info.get("DockerRootDir") or ""))
    needed_gib = sum(sizes_gib[name] for name in new)
    if free_bytes is not None and free_bytes < needed_gib * _GIB:
        raise RuntimeFaultError(
            f"no room for its volumes: they may take {needed_gib} GiB, and the engine's disk has "
            f"{free_bytes / _GIB:.1f} GiB left"
        )


async def measure_volume(engine: Engine, name: str) -> int:
    """Return how many bytes a volume takes of its disk, at least.

    0 where the agent doesn't see it, or may not look into it.

    Raises:
        RuntimeFaultError: the engine gives no answer.
    """
    folder = await engine.call(lambda docker: _folder_of(docker, name))
    return await asyncio.to_thread(taken_bytes, folder) if folder else 0


async def _folder_of(docker: Docker, name: str) -> str | None:
    """Return the folder of a volume on the engine's host; None if there is no such volume."""
    volume: Any = DockerVolume  # which has no types
    try:
        return str((await volume(docker, name).show())["Mountpoint"])
    except DockerError as error:
        raise_unless_missing(error)
        return None


def _free_bytes(folder: str) -> int | None:
    """Return the room on the disk that holds a folder; None if it is not on this host."""
    try:
        return psutil.disk_usage(folder).free if folder else None
    except OSError:
        return None


def taken_bytes(folder: str, most_files: int = _MOST_FILES) -> int:
    """Add up what a folder's files take of their disk, each once however many names it has.

    Holes take nothing. Other disks are left out, and what may not be read.
    """
    try:
        top = Path(folder).stat()
    except OSError:
        return 0
    taken, files = 0, 0
    linked: set[int] = set()
    folders = [(folder, top.st_ino)]
    while folders:
        for path, found in _entries(*folders.pop(), top.st_dev):
            files += 1
            if files > most_files:
                return taken
            if S_ISDIR(found.st_mode):
                folders.append((path, found.st_ino))
            elif found.st_nlink > 1:
                if found.st_ino in linked:
                    continue
                linked.add(found.st_ino)
            taken += found.st_blocks * _BLOCK_BYTES
    return taken


def _entries(folder: str, inode: int, disk: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what is in a folder, as far as it is on that disk; nothing of one with another inode.

    A container may at any time put a link out of its volume in a folder's place.
    """
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        now = os.fstat(opened)
        if (now.st_dev, now.st_ino) != (disk, inode):
            return
        with os.scandir(opened) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # it went meanwhile
                if found.st_dev == disk:
                    yield os.path.join(folder, entry.name), found  # noqa: PTH118 (a hot loop)
    finally:
        os.close(opened)
