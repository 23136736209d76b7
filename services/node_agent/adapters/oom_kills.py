"""Kills for want of memory, as the kernel tells of them.

Not every engine says of an end that it was one: podman 4.3 doesn't where control groups are of
version 1, and the group with the kernel's count goes with the container. There the kernel signals
a counter of the agent's own (eventfd) whenever the group is out of memory, and once more when it
goes, so nothing can be missed once the counter is there. Where groups are of version 2 engines say
it themselves.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

# Where the groups of version 1 that count memory are, on every usual host.
_GROUPS = Path("/sys/fs/cgroup/memory")
# A group's end is signalled after its folder is gone, mostly within this.
_LAST_SIGNAL_S = 0.2
_LOOK_AGAIN_S = 0.01


@dataclass(slots=True)
class _Watched:
    """A container's group, and the counter that is signalled."""

    folder: Path
    counter: int
    signals: int = 0
    out_of_memory: bool = False

    def take(self) -> None:
        """Take in the signals that came.

        One is the group's own end, unless its folder is still there.
        """
        try:
            self.signals += os.eventfd_read(self.counter)
        except BlockingIOError:
            return
        self.out_of_memory = self.out_of_memory or self.signals > 1 or self.folder.exists()


class OomKills:
    """Watches the memory of containers that run on this very host."""

    def __init__(self, groups: Path = _GROUPS) -> None:
        """Look for control groups in that folder."""
        self._groups = groups
        self._watched: dict[str, _Watched] = {}

    async def watch(self, container_id: str, pid: int) -> None:
        """Begin to watch a running container, by its first process; a second time does nothing.

        Nothing comes of it where groups are of version 2, or not this host's, or may not be asked.
        """
        if container_id in self._watched or not pid:
            return
        try:
            watched = await asyncio.to_thread(self._begin, container_id, pid)
        except OSError as error:
            _log.debug("memory not watched", container=container_id, why=str(error))
            return
        if watched is not None:
            self.forget(container_id)
            self._watched[container_id] = watched
            asyncio.get_running_loop().add_reader(watched.counter, watched.take)

    async def killed(self, container_id: str) -> bool:
        """Tell whether a container that a signal ended was out of memory before.

        False too of one that was not watched.
        """
        for _ in range(round(_LAST_SIGNAL_S / _LOOK_AGAIN_S)):
            watched = self._watched.get(container_id)
            if watched is None:
                return False
            watched.take()
            if watched.out_of_memory or not watched.signals:
                return watched.out_of_memory
            # It was the group's end, or want of memory that is seen late: then one more follows.
            await asyncio.sleep(_LOOK_AGAIN_S)
        return False

    def forget(self, container_id: str) -> None:
        """Watch a container no longer."""
        watched = self._watched.pop(container_id, None)
        if watched is not None:
            asyncio.get_running_loop().remove_reader(watched.counter)
            os.close(watched.counter)

    def _begin(self, container_id: str, pid: int) -> _Watched | None:
        folder = self._group_of(container_id, pid)
        return None if folder is None else _Watched(folder, _counter_of(folder))

    def _group_of(self, container_id: str, pid: int) -> Path | None:
        """Return the folder of a process's group, if it is surely that container's.

        Raises:
            OSError: there is no such process here.
        """
        for line in Path("/proc", str(pid), "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            # An agent in a container may see another process under that number.
            if "memory" in controllers.split(",") and container_id in path:
                return self._groups / path.lstrip("/")
        return None


def _counter_of(folder: Path) -> int:
    """Return a counter that the kernel signals whenever the group is out of memory.

    Raises:
        OSError: the kernel does not do that, or not for us.
    """
    counter = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        with (folder / "memory.oom_control").open("rb") as control:
            wish = f"{counter} {control.fileno()}"
            (folder / "cgroup.event_control").write_text(wish, encoding="ascii")
    except OSError:
        os.close(counter)
        raise
    return counter
