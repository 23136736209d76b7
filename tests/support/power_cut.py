"""A disk whose power can be cut: an ext4 of its own on a loop device.

The cut is ext4's shutdown call without flushing its journal: from then on nothing reaches the
disk, and what was written but not synced before is gone after the next mount, as when the plug is
pulled. Killing a process alone never shows that: the kernel keeps what it had written.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.waiting import eventually_sync

_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN
_NO_LOG_FLUSH = 2
_PROGRAMS = ("losetup", "mkfs.ext4", "mount", "umount", "sync")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Disk:
    """An ext4 of `size_mib`, mounted at `path`; use `a_disk`."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.path = folder / "disk"
        self._image = folder / "image"
        self._size_mib = size_mib
        self._device = ""
        self._mounted = False

    def make(self) -> None:
        """Make the file system and mount it."""
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(self._size_mib * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._device = _run("losetup", "--find", "--show", str(self._image)).strip()
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-t", "ext4", self._device, str(self.path))
        self._mounted = True
        # A database that runs as another user must get through.
        self.path.chmod(0o755)

    def sync(self) -> None:
        """Bring all that was written so far to the disk."""
        _run("sync", "--file-system", str(self.path))

    def cut(self) -> None:
        """Cut the power: nothing more reaches the disk, and nothing can be read from it."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def back(self) -> None:
        """Bring the power back: mount again, which replays the journal.

        All processes that use the disk must have ended.
        """
        self._unmount()
        self._mount()

    def _unmount(self) -> None:
        def gone() -> bool:
            return _try("umount", str(self.path)) == ""

        # A process that was killed may take a moment to let go of its files.
        eventually_sync(gone, 60, what=f"unmounting {self.path}")
        self._mounted = False

    def remove(self) -> None:
        """Unmount and detach, whatever state it is in."""
        try:
            if self._mounted:
                self._unmount()
        except AssertionError:
            _try("umount", "--lazy", str(self.path))
            raise
        finally:
            if self._device:
                _try("losetup", "--detach", self._device)


def fail(disk: Disk, *pids: int) -> None:
    """Let processes, all that they started, and the disk lose their power in the same instant.

    They are frozen first, so that none of them can act, or answer anybody, on a dead disk.
    """
    roots = [psutil.Process(pid) for pid in pids]
    everybody = {*roots, *(child for root in roots for child in root.children(recursive=True))}
    for process in everybody:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    disk.cut()
    for process in everybody:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def a_disk(size_mib: int = 1024) -> Iterator[Disk]:
    """Have a disk whose power can be cut while the context lasts."""
    folder = Path(tempfile.mkdtemp(prefix="fogdisk-"))
    # Databases that run as another user pass through here.
    folder.chmod(0o755)
    disk = Disk(folder, size_mib)
    try:
        disk.make()
        yield disk
    finally:
        try:
            disk.remove()
        finally:
            if not os.path.ismount(disk.path):
                shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def why_no_disk() -> str:
    """Say why a disk can't be had here; empty if it can."""
    if sys.platform != "linux":
        return "cutting a disk's power needs Linux"
    if os.geteuid() != 0:
        return "cutting a disk's power needs root, for loop devices and mounts"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"cutting a disk's power needs {', '.join(missing)}"
    try:
        with a_disk(16):
            return ""
    except (OSError, AssertionError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", "") or error
        return f"no loop device with an ext4 can be had here: {str(reason).strip()}"


def _run(*command: str) -> str:
    return subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": _PATH, "LC_ALL": "C"},
    ).stdout


def _try(*command: str) -> str:
    """Run a command and return what it complained about; empty if it worked."""
    try:
        _run(*command)
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip() or f"exit code {error.returncode}"
    return ""
