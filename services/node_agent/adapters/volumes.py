"""Volumes of an engine: made, measured, and begun only where its disk has room for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
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
    taken, files = 0, 0
    linked: set[int] = set()
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                for entry in found:
                    files += 1
                    if files > most_files:
                        return taken
                    stat = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        if not os.path.ismount(entry.path):
                            folders.append(entry.path)
                    elif stat.st_nlink > 1:
                        if stat.st_ino in linked:
                            continue
                        linked.add(stat.st_ino)
                    taken += stat.st_blocks * _BLOCK_BYTES
        except OSError:
            continue  # it went meanwhile, or nobody but its owner may read it
    return taken
