"""What a host has to offer: measured on the real one, declared for a simulated one."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from fogbank.domain.node import Fingerprint
from fogbank.domain.resources import NOTHING, Resources
from fogbank.domain.states import RuntimeKind

_MIB = 1024 * 1024
_GIB = 1024 * _MIB

# The kernel's names of processors, and those of the Open Container Initiative.
_ARCHITECTURES: Mapping[str, str] = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i386": "386",
}

# What a simulated replica burns of what it asked for, and what a host needs for itself.
_SIMULATED_SHARE = 0.5
_IDLE_PERCENT = 2.0


@cache
def agent_version() -> str:
    """Return the installed release; `unknown` when run from a bare source tree."""
    try:
        return version("fogbank")
    except PackageNotFoundError:
        return "unknown"


@cache
def architecture() -> str:
    """Return the processor architecture as the Open Container Initiative names it."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def less(capacity: Resources, reserved: Resources) -> Resources:
    """Return the capacity without what is reserved, never below 0."""
    rest = capacity - reserved
    return Resources(
        max(0, rest.cpu_millicores),
        max(0, rest.memory_mib),
        max(0, rest.storage_gib),
        max(0, rest.gpu_thousandths),
    )


class MeasuredHost:
    """The machine that this process runs on, by psutil."""

    def __init__(
        self,
        folder: Path,
        *,
        reserved: Resources = NOTHING,
        region: str = "",
        labels: Mapping[str, str] | None = None,
        gpu_count: int = 0,
        gpu_model: str = "",
        runtime: RuntimeKind = RuntimeKind.SIMULATED,
    ) -> None:
        """Measure with the disk that holds `folder`; `reserved` isn't offered to replicas."""
        self._folder = folder
        self._reserved = reserved
        self._region = region
        self._labels = dict(labels or {})
        self._gpu_count = gpu_count
        self._gpu_model = gpu_model
        self._runtime = runtime
        # The first reading only begins the first interval.
        psutil.cpu_percent(None)

    def fingerprint(self) -> Fingerprint:
        capacity = Resources(
            cpu_millicores=(psutil.cpu_count() or 1) * 1000,
            memory_mib=psutil.virtual_memory().total // _MIB,
            storage_gib=psutil.disk_usage(str(self._folder)).total // _GIB,
            gpu_thousandths=self._gpu_count * 1000,
        )
        return Fingerprint(
            capacity,
            less(capacity, self._reserved),
            arch=architecture(),
            os=platform.system().lower(),
            region=self._region,
            gpu_model=self._gpu_model if self._gpu_count else "",
            labels=self._labels,
            runtime=self._runtime,
            agent_version=agent_version(),
        )

    def usage(self) -> tuple[float, float]:
        return psutil.cpu_percent(None), psutil.virtual_memory().percent


class DeclaredHost:
    """A host of the size that the settings say: on paper, or a share of the real machine."""

    def __init__(
        self,
        capacity: Resources,
        used: Callable[[], Resources],
        *,
        region: str = "",
        labels: Mapping[str, str] | None = None,
        gpu_model: str = "",
        runtime: RuntimeKind = RuntimeKind.CONTAINER,
    ) -> None:
        """Offer `capacity`; its load is what `used` returns of it, and a little for itself."""
        self._used = used
        self._fingerprint = Fingerprint(
            capacity,
            capacity,
            arch=architecture(),
            os=platform.system().lower(),
            region=region,
            gpu_model=gpu_model if capacity.gpu_thousandths else "",
            labels=dict(labels or {}),
            runtime=runtime,
            agent_version=agent_version(),
        )

    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    def usage(self) -> tuple[float, float]:
        used, capacity = self._used(), self._fingerprint.capacity
        return (
            _percent(used.cpu_millicores, capacity.cpu_millicores),
            _percent(used.memory_mib, capacity.memory_mib),
        )


class SimulatedHost(DeclaredHost):
    """A host that exists on paper. Its load is half of what its running replicas asked for."""

    def __init__(
        self,
        capacity: Resources,
        running: Callable[[], Resources],
        *,
        region: str = "",
        labels: Mapping[str, str] | None = None,
        gpu_model: str = "",
    ) -> None:
        super().__init__(
            capacity,
            lambda: _share(running()),
            region=region,
            labels=labels,
            gpu_model=gpu_model,
            runtime=RuntimeKind.SIMULATED,
        )


def _share(asked: Resources) -> Resources:
    return Resources(
        round(asked.cpu_millicores * _SIMULATED_SHARE), round(asked.memory_mib * _SIMULATED_SHARE)
    )


def _percent(used: int, capacity: int) -> float:
    if capacity <= 0:
        return 0.0
    return min(100.0, _IDLE_PERCENT + 100.0 * used / capacity)
