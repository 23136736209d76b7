"""The flags of `fog update`, and those that the commands of `fog rollout` have too."""

from pathlib import Path
from typing import Annotated

import typer

Which = Annotated[str, typer.Argument(help="Its id, or its name if no other has it.")]
WhichOrFile = Annotated[
    str | None,
    typer.Argument(help="Its id, or its name if no other has it; a file says it by itself."),
]
File = Annotated[
    Path | None,
    typer.Option("-f", "--file", help="YAML as for deploy: make what is deployed what it says."),
]
NewName = Annotated[str | None, typer.Option("--name", help="A new name.")]
Image = Annotated[str | None, typer.Option("--image", help="Container image.")]
Replicas = Annotated[int | None, typer.Option("--replicas", help="How many, at least 1.")]
Cpu = Annotated[float | None, typer.Option("--cpu", help="Cores for each replica.")]
Memory = Annotated[int | None, typer.Option("--memory", help="MiB for each replica.")]
Storage = Annotated[int | None, typer.Option("--storage", help="GiB for each replica.")]
Gpu = Annotated[float | None, typer.Option("--gpu", help="GPUs for each replica.")]
Type = Annotated[str | None, typer.Option("--type", help="As of deploy.")]
Region = Annotated[str | None, typer.Option("--region", help="Where it should be near.")]
Priority = Annotated[str | None, typer.Option("--priority", help="0 to 100, or low, medium, high.")]
Cluster = Annotated[
    str | None, typer.Option("--cluster", help="Number or name of the cluster to move it to.")
]
Env = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", help="KEY=VALUE; repeatable; all together are the new ones."),
]
Label = Annotated[
    list[str] | None,
    typer.Option("--label", "-l", help="KEY=VALUE; repeatable; all together are the new ones."),
]
Constraint = Annotated[
    list[str] | None,
    typer.Option("--constraint", help="As of deploy; all together are the new ones."),
]
GpuModel = Annotated[str | None, typer.Option("--gpu-model", help="GPU model demanded.")]
Restart = Annotated[str | None, typer.Option("--restart", help="always, on-failure or never.")]
Strategy = Annotated[str | None, typer.Option("--strategy", help="Empty: the policy's own.")]
AllowColocation = Annotated[
    bool | None,
    typer.Option(
        "--allow-colocation/--no-allow-colocation", help="Whether replicas may share a node."
    ),
]
WaitForCapacity = Annotated[
    bool | None,
    typer.Option(
        "--wait-for-capacity/--no-wait-for-capacity", help="Wait for room, or fail without it."
    ),
]
Replace = Annotated[bool | None, typer.Option("--replace/--no-replace", help="As of deploy.")]
Port = Annotated[
    list[str] | None,
    typer.Option("--port", "-p", help="As of deploy; all together are the new ones."),
]
VolumeFlag = Annotated[
    list[str] | None, typer.Option("--volume", help="As of deploy; all together are the new ones.")
]
Etag = Annotated[str, typer.Option("--etag", help="Only if it is still at this etag.")]
Repeat = Annotated[str, typer.Option("--request-id", help="Makes a repeat of this command safe.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until all replicas are replaced.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait.")]
