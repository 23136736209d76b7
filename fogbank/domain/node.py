"""What a host says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from fogbank.domain.resources import Resources
from fogbank.domain.states import RuntimeKind
from fogbank.domain.value import value


@value
class Fingerprint:
    """A host's room and attributes; allocatable is capacity less what its operator reserved."""

    capacity: Resources
    allocatable: Resources
    arch: str = ""
    os: str = ""
    region: str = ""
    gpu_model: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    runtime: RuntimeKind = RuntimeKind.SIMULATED
    agent_version: str = ""


@value
class Gpu:
    """A GPU of a host; memory in MiB, 0 if not known."""

    model: str
    memory_mib: int = 0


@value
class HostDetails:
    """What a host runs on, as far as its agent can tell; sizes of disks in GiB, 0 if not known.

    Nothing is decided from it, so it is no part of the fingerprint: that of a host whose agent says
    nothing of it is in states, and in their digests, as it always was.
    """

    kernel_release: str = ""
    engine_name: str = ""
    engine_version: str = ""
    image_disk_gib: int = 0
    volume_disk_gib: int = 0
    gpus: tuple[Gpu, ...] = ()

    def described(self) -> dict[str, Any]:
        """Return it as users read it, in the units of deployments; None for what isn't known."""
        gpus = [{"model": gpu.model, "memory_mb": gpu.memory_mib or None} for gpu in self.gpus]
        return {
            "kernel_release": self.kernel_release or None,
            "engine_name": self.engine_name or None,
            "engine_version": self.engine_version or None,
            "image_disk_gb": self.image_disk_gib or None,
            "volume_disk_gb": self.volume_disk_gib or None,
            "gpus": gpus,
        }


NO_DETAILS = HostDetails()
