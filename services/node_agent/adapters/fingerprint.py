"""What a host has to offer: measured on the real one, declared for a simulated one."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import structlog

from fogbank.domain.node import Fingerprint, Gpu, HostDetails
from fogbank.domain.resources import NOTHING, Resources
from fogbank.domain.states import RuntimeKind
from services.node_agent.adapters.engine_facts import EngineFacts, ReadEngine
from services.node_agent.adapters.gpus import GpuReadError
from services.node_agent.app.ports import RuntimeFaultError

_log = structlog.get_logger(__name__)

# Reads the GPUs, by their device numbers; GpuReadError if they give no answer.
ReadGpus = Callable[[], tuple[Gpu, ...]]

# How long a look waits for the engine, and for GPUs: no handshake is held up for longer.
_PATIENCE_S = 5.0

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

# Gateways take no longer texts; those of engines and drivers are shorter.
_LONGEST_TEXT = 256


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


class _EngineWatch:
    """What a host's container engine said of itself when it last answered."""

    def __init__(self, read: ReadEngine | None, patience_s: float) -> None:
        self._read = read
        self._patience_s = patience_s
        self.facts = EngineFacts("", "")

    async def look(self) -> None:
        if self._read is None:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                self.facts = await self._read()
        except (RuntimeFaultError, TimeoutError) as error:
            _log.info("engine does not say what it is", why=str(error) or "no answer in time")


class _GpuWatch:
    """The GPUs as they were last read; one reading at a time, however long it takes."""

    def __init__(self, read: ReadGpus, patience_s: float) -> None:
        self._read = read
        self._patience_s = patience_s
        self._reading: asyncio.Future[tuple[Gpu, ...]] | None = None
        self.gpus: tuple[Gpu, ...] = ()
        self._trouble = ""

    async def look(self) -> None:
        if self._reading is None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(self._read))
        await asyncio.wait({self._reading}, timeout=self._patience_s)
        if not self._reading.done():
            self._note("no answer in time")
            return
        reading, self._reading = self._reading, None
        try:
            found = reading.result()
        except GpuReadError as error:
            self._note(str(error))
            return
        self._trouble = ""
        self.gpus = tuple(Gpu(_text(gpu.model), gpu.memory_mib) for gpu in found)

    def _note(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            _log.warning("GPUs can't be read", why=why)


class MeasuredHost:
    """The machine that this process runs on, by psutil, its container engine and its GPUs' driver.

    What the settings say of GPUs comes before what is measured.
    """

    def __init__(
        self,
        folder: Path,
        *,
        reserved: Resources = NOTHING,
        region: str = "",
        labels: Mapping[str, str] | None = None,
        gpu_count: int | None = None,
        gpu_model: str = "",
        runtime: RuntimeKind = RuntimeKind.SIMULATED,
        read_engine: ReadEngine | None = None,
        read_gpus: ReadGpus = tuple,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Measure with the disk that holds `folder`; `reserved` isn't offered to replicas.

        Without a `gpu_count` there are as many GPUs as `read_gpus` finds.
        """
        self._folder = folder
        self._reserved = reserved
        self._region = region
        self._labels = dict(labels or {})
        self._gpu_count = gpu_count
        self._gpu_model = gpu_model
        self._runtime = runtime
        self._engine = _EngineWatch(read_engine, patience_s)
        self._gpus = _GpuWatch(tuple if gpu_count == 0 else read_gpus, patience_s)
        self._details = _details(self._engine.facts)
        # The first reading only begins the first interval.
        psutil.cpu_percent(None)

    async def look(self) -> None:
        await asyncio.gather(self._engine.look(), self._gpus.look())
        facts = self._engine.facts
        image_disk_gib, volume_disk_gib = await asyncio.to_thread(
            lambda: (_disk_gib(facts.image_folder), _disk_gib(facts.volume_folder))
        )
        self._details = replace(
            _details(facts),
            image_disk_gib=image_disk_gib,
            volume_disk_gib=volume_disk_gib,
            gpus=self._gpus.gpus[: self._gpu_count],
        )

    def details(self) -> HostDetails:
        return self._details

    def fingerprint(self) -> Fingerprint:
        gpus = self._details.gpus
        gpu_count = len(gpus) if self._gpu_count is None else self._gpu_count
        capacity = Resources(
            cpu_millicores=(psutil.cpu_count() or 1) * 1000,
            memory_mib=psutil.virtual_memory().total // _MIB,
            storage_gib=psutil.disk_usage(str(self._folder)).total // _GIB,
            gpu_thousandths=gpu_count * 1000,
        )
        return Fingerprint(
            capacity,
            less(capacity, self._reserved),
            arch=architecture(),
            os=platform.system().lower(),
            region=self._region,
            gpu_model=(self._gpu_model or _one_model(gpus)) if gpu_count else "",
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
        read_engine: ReadEngine | None = None,
    ) -> None:
        """Offer `capacity`; its load is what `used` returns of it, and a little for itself."""
        self._used = used
        self._engine = _EngineWatch(read_engine, _PATIENCE_S)
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

    async def look(self) -> None:
        await self._engine.look()

    def details(self) -> HostDetails:
        return _details(self._engine.facts)

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


def _details(engine: EngineFacts) -> HostDetails:
    return HostDetails(
        kernel_release=_text(platform.release()),
        engine_name=_text(engine.name),
        engine_version=_text(engine.version),
    )


def _text(found: str) -> str:
    """Return a text as gateways take it: a strange one must not keep the node out."""
    return "".join(filter(str.isprintable, found))[:_LONGEST_TEXT]


def _disk_gib(folder: str) -> int:
    """Measure the disk that holds a folder; 0 if it is not on this host, or not to be seen."""
    try:
        return psutil.disk_usage(folder).total // _GIB if folder else 0
    except OSError:
        return 0


def _one_model(gpus: Sequence[Gpu]) -> str:
    """Return the model that all GPUs have; of several, none could be promised to a replica."""
    models = {gpu.model for gpu in gpus}
    return models.pop() if len(models) == 1 else ""


def _share(asked: Resources) -> Resources:
    return Resources(
        round(asked.cpu_millicores * _SIMULATED_SHARE), round(asked.memory_mib * _SIMULATED_SHARE)
    )


def _percent(used: int, capacity: int) -> float:
    if capacity <= 0:
        return 0.0
    return min(100.0, _IDLE_PERCENT + 100.0 * used / capacity)
