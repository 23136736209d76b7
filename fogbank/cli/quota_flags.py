"""What `fog cluster` and `fog org` take for a quota."""

from typing import TYPE_CHECKING, Annotated

import typer

from fogbank.cli.failures import UsageFailure
from fogbank.cli.output import Column

if TYPE_CHECKING:
    from fogbank.v1 import resources_pb2

Cpu = Annotated[
    float | None, typer.Option("--cpu", min=0, help="Cores in all; unlimited without it.")
]
Memory = Annotated[
    int | None, typer.Option("--memory", min=0, help="MiB in all; unlimited without it.")
]
Storage = Annotated[
    int | None, typer.Option("--storage", min=0, help="GiB in all; unlimited without it.")
]
Gpu = Annotated[
    float | None, typer.Option("--gpu", min=0, help="Devices in all; unlimited without it.")
]
Replicas = Annotated[
    int | None, typer.Option("--replicas", min=0, help="Replicas in all; unlimited without it.")
]
Unlimited = Annotated[bool, typer.Option("--unlimited", help="Without any limit.")]
RequestId = Annotated[
    str, typer.Option("--request-id", help="Makes a repeat of this command safe.")
]

COLUMNS = (
    Column("CPU", "cpu_cores"),
    Column("MEMORY MiB", "memory_mb"),
    Column("STORAGE GiB", "storage_gb"),
    Column("GPU", "gpu_units"),
    Column("REPLICAS", "replicas"),
)
_THOUSANDTHS = 1000


def quota_of(
    cpu: float | None,
    memory: int | None,
    storage: int | None,
    gpu: float | None,
    replicas: int | None,
) -> "resources_pb2.Quota":
    """Return the quota that flags make up; what isn't given is unlimited."""
    from fogbank.v1 import resources_pb2

    return resources_pb2.Quota(
        cpu_millicores=None if cpu is None else round(cpu * _THOUSANDTHS),
        memory_mib=memory,
        storage_gib=storage,
        gpu_thousandths=None if gpu is None else round(gpu * _THOUSANDTHS),
        replicas=replicas,
    )


def wanted_quota(
    cpu: float | None,
    memory: int | None,
    storage: int | None,
    gpu: float | None,
    replicas: int | None,
    *,
    unlimited: bool,
) -> "resources_pb2.Quota | None":
    """Return the quota that flags ask for, as `quota_of`; None if they ask for none."""
    limited = any(each is not None for each in (cpu, memory, storage, gpu, replicas))
    if limited and unlimited:
        raise UsageFailure("give either limits or --unlimited, not both")
    return quota_of(cpu, memory, storage, gpu, replicas) if limited or unlimited else None
