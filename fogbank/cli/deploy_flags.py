"""The flags of `fog deploy`, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

from fogbank.domain.deployment import DEFAULT_REGION

Name = Annotated[str | None, typer.Argument(help="Its name, 1 to 100 characters.")]
File = Annotated[
    Path | None,
    typer.Option("-f", "--file", help="YAML with the fields of the REST face; - is stdin."),
]
Image = Annotated[str | None, typer.Option("--image", help="Container image.")]
Replicas = Annotated[int, typer.Option("--replicas", help="How many, at least 1.")]
Cpu = Annotated[float, typer.Option("--cpu", help="Cores for each replica.")]
Memory = Annotated[int, typer.Option("--memory", help="MiB for each replica.")]
Gpu = Annotated[float, typer.Option("--gpu", help="GPUs for each replica.")]
Storage = Annotated[int, typer.Option("--storage", help="GiB for each replica.")]
Type = Annotated[str, typer.Option("--type", help="compute, storage, gateway or mixnode.")]
Region = Annotated[
    str, typer.Option("--region", help=f"Where it should be near; {DEFAULT_REGION} if not said.")
]
Priority = Annotated[str | None, typer.Option("--priority", help="0 to 100, or low, medium, high.")]
Env = Annotated[list[str] | None, typer.Option("--env", "-e", help="KEY=VALUE; may be repeated.")]
Label = Annotated[
    list[str] | None, typer.Option("--label", "-l", help="KEY=VALUE; may be repeated.")
]
Constraint = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        help="Such as region=us-east, label.disk!=hdd, 'region in a,b', label.x; repeatable.",
    ),
]
GpuModel = Annotated[str, typer.Option("--gpu-model", help="GPU model demanded.")]
Restart = Annotated[str, typer.Option("--restart", help="always, on-failure or never.")]
Strategy = Annotated[str, typer.Option("--strategy", help="Empty: the policy's own.")]
Cluster = Annotated[str, typer.Option("--cluster", help="Cluster's number or name.")]
AllowColocation = Annotated[
    bool, typer.Option("--allow-colocation", help="Replicas may share a node.")
]
WaitForCapacity = Annotated[
    bool, typer.Option("--wait-for-capacity", help="Wait for room instead of failing.")
]
LostAfter = Annotated[
    str, typer.Option("--lost-after", help="Replace after a node's silence of, such as 90s, 1h.")
]
Replace = Annotated[
    bool,
    typer.Option("--replace/--no-replace", help="Replace what is on a lost node, or wait for it."),
]
StopOnClientAfter = Annotated[
    str,
    typer.Option("--stop-on-client-after", help="A node cut off for so long stops them itself."),
]
Port = Annotated[
    list[str] | None,
    typer.Option("--port", "-p", help="Published at a free port of the host: 80, 53/udp."),
]
VolumeFlag = Annotated[
    list[str] | None, typer.Option("--volume", help="NAME:/PATH:GIB[:ro]; may be repeated.")
]
Probe = Annotated[
    str,
    typer.Option("--probe", help="Is it well? tcp:PORT, http:PORT/PATH, grpc:PORT, exec:COMMAND."),
]
StopGrace = Annotated[str, typer.Option("--stop-grace", help="Ended by force after, such as 30s.")]
MaxSurge = Annotated[
    int | None, typer.Option("--max-surge", help="So many replicas more at a time.")
]
MaxUnavailable = Annotated[
    int | None, typer.Option("--max-unavailable", help="So many fewer that are well.")
]
MinHealthy = Annotated[
    str, typer.Option("--min-healthy", help="A new one runs so long before an old one goes: 10s.")
]
ProgressDeadline = Annotated[
    str, typer.Option("--progress-deadline", help="New ones not well by then have failed: 10m.")
]
AutoRollback = Annotated[
    bool | None,
    typer.Option("--auto-rollback/--no-auto-rollback", help="Go back when new ones fail."),
]
RequestId = Annotated[
    str, typer.Option("--request-id", help="Makes a repeat of this command safe.")
]
Another = Annotated[
    bool, typer.Option("--another", help="Also where a deployment of this name lives already.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Until all replicas run.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait.")]
