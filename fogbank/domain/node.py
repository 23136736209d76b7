"""What a host says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fogbank.domain.resources import Resources
from fogbank.domain.states import RuntimeKind


@dataclass(frozen=True, slots=True)
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
