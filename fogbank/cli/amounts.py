"""What a replica needs, as flags and files say it and as the contract counts it."""

from typing import NamedTuple


class Amount(NamedTuple):
    """How people say an amount: `per_unit` of the contract's are one of theirs."""

    name: str
    unit: str
    per_unit: int

    def shown(self, value: float) -> int | float:
        """Return one of the contract's amounts in the unit of people."""
        return value / self.per_unit if value % self.per_unit else int(value) // self.per_unit


# By their fields in the contract's resources.
AMOUNTS = {
    "cpu_millicores": Amount("cpu", "cores", 1000),
    "memory_mib": Amount("memory", "MiB", 1),
    "storage_gib": Amount("storage", "GiB", 1),
    "gpu_thousandths": Amount("gpu", "GPUs", 1000),
}
