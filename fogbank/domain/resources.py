"""Amounts of what a node has and a replica takes. Integers everywhere."""

from __future__ import annotations

from fogbank.domain.value import value


@value
class Resources:
    """cpu in millicores, memory in MiB, storage in GiB, gpu in thousandths of a device."""

    cpu_millicores: int = 0
    memory_mib: int = 0
    storage_gib: int = 0
    gpu_thousandths: int = 0

    def __add__(self, other: Resources) -> Resources:
        """Return the sum, amount by amount."""
        return Resources(
            self.cpu_millicores + other.cpu_millicores,
            self.memory_mib + other.memory_mib,
            self.storage_gib + other.storage_gib,
            self.gpu_thousandths + other.gpu_thousandths,
        )

    def __sub__(self, other: Resources) -> Resources:
        """Return the difference, amount by amount; may be negative."""
        return Resources(
            self.cpu_millicores - other.cpu_millicores,
            self.memory_mib - other.memory_mib,
            self.storage_gib - other.storage_gib,
            self.gpu_thousandths - other.gpu_thousandths,
        )

    def fits_in(self, room: Resources) -> bool:
        """Tell whether every amount is at most the room's."""
        return (
            self.cpu_millicores <= room.cpu_millicores
            and self.memory_mib <= room.memory_mib
            and self.storage_gib <= room.storage_gib
            and self.gpu_thousandths <= room.gpu_thousandths
        )


NOTHING = Resources()
