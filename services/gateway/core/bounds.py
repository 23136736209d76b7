"""How much may be asked for, and in which words each face of the gateway says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Context

from fogbank.domain.deployment import DeploymentSpec

# JSON has integers that no float holds; decimals do, and round to what people read.
_SHOWN = Context(prec=10)
_PLAIN_BELOW = 10**15
# Any number of 64 bits is shown as it is.
_WHOLE_BELOW = 10**19

# How far into a list anybody may begin: what a database counts with ease, and no list is as long.
LARGEST_OFFSET = 1_000_000_000


def shown_number(number: float, scale: int = 1) -> str:
    """Return a number of any size divided by `scale`: whole as it is, or else in 10 digits."""
    if not isinstance(number, int):
        return f"{number / scale:.10g}"
    if scale == 1 and abs(number) < _WHOLE_BELOW:
        return f"{number:d}"
    shown = _SHOWN.divide(_SHOWN.create_decimal(number), scale).normalize(_SHOWN)
    return f"{shown:f}" if abs(shown) < _PLAIN_BELOW else f"{shown:e}"


@dataclass(frozen=True, slots=True)
class Amount:
    """The bounds of one amount, in the system's units, and how a face calls and shows it.

    Shown values are the system's divided by `scale`: cores are millicores by 1000. A value that
    is `kept` is good in any case: it stands, and nobody asks for it now.
    """

    path: str
    low: int
    high: int
    unit: str = ""
    scale: int = 1
    kept: int | None = None

    def show(self, value: float) -> str:
        """Return a value in the face's unit, without needless digits."""
        return shown_number(value, self.scale)

    def problem(self, value: float) -> str | None:
        """Return what is wrong with a value, or None."""
        if value == self.kept or self.low <= value <= self.high:
            return None
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"must be between {self.show(self.low)} and {self.show(self.high)}{unit}, "
            f"got {self.show(value)}"
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """A face's bounds; `prefix` goes before the names of fields that have no amount."""

    replicas: Amount
    cpu: Amount
    memory: Amount
    storage: Amount
    gpu: Amount
    prefix: str = ""

    def keeping(self, spec: DeploymentSpec) -> Bounds:
        """Return the bounds of a change to a deployment, which may stand beyond them."""
        amounts = spec.resources
        return replace(
            self,
            replicas=replace(self.replicas, kept=spec.replicas),
            cpu=replace(self.cpu, kept=amounts.cpu_millicores),
            memory=replace(self.memory, kept=amounts.memory_mib),
            storage=replace(self.storage, kept=amounts.storage_gib),
            gpu=replace(self.gpu, kept=amounts.gpu_thousandths),
        )


REST_BOUNDS = Bounds(
    replicas=Amount("replicas", 1, 10),
    cpu=Amount("resources.cpu", 500, 16_000, "cores", 1000),
    memory=Amount("resources.memory", 512, 16_384, "MB"),
    storage=Amount("resources.storage", 1, 1_000, "GB"),
    gpu=Amount("resources.gpu", 0, 8_000, "GPUs", 1000),
)


def grpc_bounds(
    *,
    max_replicas: int = 1_000,
    max_cpu_millicores: int = 1_024_000,
    max_memory_mib: int = 16 * 1024 * 1024,
    max_storage_gib: int = 1_000_000,
    max_gpu_thousandths: int = 64_000,
) -> Bounds:
    """Return the bounds of the gRPC face, per replica."""
    return Bounds(
        replicas=Amount("spec.replicas", 1, max_replicas),
        cpu=Amount("spec.resources.cpu_millicores", 1, max_cpu_millicores),
        memory=Amount("spec.resources.memory_mib", 1, max_memory_mib),
        storage=Amount("spec.resources.storage_gib", 0, max_storage_gib),
        gpu=Amount("spec.resources.gpu_thousandths", 0, max_gpu_thousandths),
        prefix="spec.",
    )


GRPC_BOUNDS = grpc_bounds()
