"""What `fog cluster` and `fog org` take for a quota."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fogbank.v1 import resources_pb2

Cpu = Annotated[
    float | None, typer.Option("--cpu", min=0, help="Cores in all; unlimited without it.")
]
Memory = Annotated[
    int | None, typer.Option("--memory", min=0, help="MB in all; unlimited without it.")
]
Storage = Annotated[
    int | None, typer.Option("--storage", min=0, help="GB in all; unlimited without it.")
]
Gpu = Annotated[
    float | None, typer.Option("--gpu", min=0, help="Devices in all; unlimited without it.")
]
Replicas = Annotated[
    int | None, typer.Option("--replicas", min=0, help="Replicas in all; unlimited without it.")
]
RequestId = Annotated[
    str, typer.Option("--request-id", help="Makes a repeat of this command safe.")
]

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
