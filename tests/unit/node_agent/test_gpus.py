"""GPUs as NVIDIA's library says them."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from fogbank.domain.node import Gpu
from services.node_agent.adapters.gpus import GpuReadError, nvml_gpus, read_gpus


class FakeNvml:
    """The functions of `pynvml` that are used; an error in place of a device is raised by it."""

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801 (the library's names)
        pass

    class NVMLError_DriverNotLoaded(NVMLError):  # noqa: N801
        pass

    class NVMLError_NotSupported(NVMLError):  # noqa: N801
        pass

    def __init__(self, *devices: Any, at_init: Exception | None = None) -> None:
        self._devices = devices
        self._at_init = at_init
        self.begun = 0

    def nvmlInit(self) -> None:
        if self._at_init:
            raise self._at_init
        self.begun += 1

    def nvmlShutdown(self) -> None:
        self.begun -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self._devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        if isinstance(self._devices[index], Exception):
            raise self._devices[index]
        return self._devices[index]

    def nvmlDeviceGetName(self, handle: Any) -> str:
        return str(handle[0])

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        if handle[1] is None:
            raise self.NVMLError_NotSupported
        return SimpleNamespace(total=handle[1])


def test_models_and_memory_in_the_order_of_the_devices() -> None:
    nvml = FakeNvml(("Tesla T4", 15360 << 20), ("NVIDIA GB10", None))
    assert read_gpus(nvml) == (Gpu("Tesla T4", 15360), Gpu("NVIDIA GB10", 0))
    assert nvml.begun == 0


@pytest.mark.parametrize(
    "absent", [FakeNvml.NVMLError_LibraryNotFound(), FakeNvml.NVMLError_DriverNotLoaded()]
)
def test_a_host_without_driver_has_no_gpus(absent: Exception) -> None:
    assert read_gpus(FakeNvml(at_init=absent)) == ()


def test_a_driver_that_fails_is_not_a_host_without_gpus() -> None:
    with pytest.raises(GpuReadError, match="does not begin: broken"):
        read_gpus(FakeNvml(at_init=FakeNvml.NVMLError("broken")))
    nvml = FakeNvml(("T4", 1), FakeNvml.NVMLError("GPU is lost"))
    with pytest.raises(GpuReadError, match="GPU is lost"):
        read_gpus(nvml)
    assert nvml.begun == 0


def test_without_the_library_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml_gpus() == ()
