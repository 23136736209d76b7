"""The GPUs of this machine, by NVIDIA's management library (NVML)."""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

from fogbank.domain.node import Gpu

_MIB = 1024 * 1024


class GpuReadError(Exception):
    """There may be GPUs, and they can't be read now; the text says why, for people."""


class Nvml(Protocol):
    """What is used of the module `pynvml`; its functions raise its `NVMLError`."""

    @property
    def NVMLError(self) -> type[Exception]: ...  # noqa: N802
    # Subclasses of NVMLError: nothing of NVIDIA's here, and a device that has no such figure.
    @property
    def NVMLError_LibraryNotFound(self) -> type[Exception]: ...  # noqa: N802
    @property
    def NVMLError_DriverNotLoaded(self) -> type[Exception]: ...  # noqa: N802
    @property
    def NVMLError_NotSupported(self) -> type[Exception]: ...  # noqa: N802

    def nvmlInit(self) -> None: ...  # noqa: N802 (the library's name)
    def nvmlShutdown(self) -> None: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: Any) -> str: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...  # noqa: N802


def nvml_gpus() -> tuple[Gpu, ...]:
    """Return this machine's GPUs by their device numbers; none without driver or library.

    Blocks, for seconds where a driver has to wake its devices.

    Raises:
        GpuReadError: the driver is there, and gives no answer.
    """
    try:
        library = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return ()
    return read_gpus(cast("Nvml", library))


def read_gpus(nvml: Nvml) -> tuple[Gpu, ...]:
    """Return the GPUs that a library sees.

    Raises: as `nvml_gpus`. One device that can't be read is that, too: without it the numbers of
        the others would be wrong.
    """
    try:
        nvml.nvmlInit()
    except (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded):
        return ()
    except nvml.NVMLError as error:
        raise GpuReadError(f"NVML does not begin: {error}") from error
    try:
        try:
            return tuple(_gpu(nvml, number) for number in range(nvml.nvmlDeviceGetCount()))
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        raise GpuReadError(f"NVML gives no answer: {error}") from error


def _gpu(nvml: Nvml, number: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    try:
        memory_mib = nvml.nvmlDeviceGetMemoryInfo(handle).total // _MIB
    except nvml.NVMLError_NotSupported:
        memory_mib = 0  # it shares the host's
    return Gpu(nvml.nvmlDeviceGetName(handle), memory_mib)
