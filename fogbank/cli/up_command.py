"""`fog up`: the whole system on this machine."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fogbank.cli.failures import CommandError, UsageFailure
from fogbank.local.ports import GRPC_PORT, HTTP_PORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fogbank.local.fleet import SimulatedNode

_LARGEST_PORT = 65_535


class Runtime(StrEnum):
    """How nodes run containers; `auto` takes a container engine if one answers."""

    AUTO = "auto"
    CONTAINER = "container"
    SIMULATED = "simulated"


DataDirectory = Annotated[
    Path, typer.Option("--data-dir", envvar="FOG_DATA_DIR", help="Where everything is kept.")
]
FleetFile = Annotated[
    Path | None, typer.Option("--fleet", help="YAML file that describes simulated nodes.")
]
Nodes = Annotated[
    int | None,
    typer.Option("--nodes", help="Make a mixed fleet of this many nodes (8 at first)."),
]
GrpcPort = Annotated[
    int | None,
    typer.Option(
        "--grpc-port",
        min=0,
        max=_LARGEST_PORT,
        help=f"0 is any free one; that of the last start if not said, at first {GRPC_PORT}.",
    ),
]
HttpPort = Annotated[
    int | None,
    typer.Option(
        "--http-port",
        min=0,
        max=_LARGEST_PORT,
        help=f"0 is any free one; that of the last start if not said, at first {HTTP_PORT}.",
    ),
]
RuntimeKind = Annotated[
    Runtime,
    typer.Option("--runtime", help="How nodes run containers; auto: really, if an engine answers."),
]
Gateways = Annotated[int, typer.Option("--gateways", min=1, max=8, help="How many to run.")]
Schedulers = Annotated[
    int, typer.Option("--schedulers", min=1, max=8, help="How many to run; one leads.")
]
StartTimeout = Annotated[float, typer.Option("--timeout", help="Seconds until all must be ready.")]
Tls = Annotated[
    bool,
    typer.Option("--tls", help="With an authority of its own: TLS everywhere, from then on."),
]
Host = Annotated[
    str,
    typer.Option("--host", help="Name or address by which other hosts call this one; needs --tls."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON when ready, nothing else.")
]


def up(  # noqa: PLR0917  one parameter for each flag
    data_dir: DataDirectory = Path(".fogbank"),
    fleet: FleetFile = None,
    nodes: Nodes = None,
    grpc_port: GrpcPort = None,
    http_port: HttpPort = None,
    runtime: RuntimeKind = Runtime.AUTO,
    gateways: Gateways = 1,
    schedulers: Schedulers = 1,
    tls: Tls = False,
    host: Host = "",
    timeout: StartTimeout = 120,
    json: Json = False,
) -> int:
    """Run the whole system on this machine until Ctrl-C: broker, database, services, nodes.

    With FOG_NATS_URL or DATABASE_URL set, those are used in place of the embedded ones. Started
    again on the same data directory it carries on where it was.
    """
    import os

    from fogbank.cli.up_reporter import JsonReporter, TextReporter
    from fogbank.cli.up_run import run
    from fogbank.local.data_dir import DataDir
    from fogbank.local.errors import FleetFileError, LocalError
    from fogbank.local.system import UpOptions

    try:
        options = UpOptions(
            data_dir=DataDir(data_dir.expanduser().absolute()),
            fleet=_fleet(fleet, nodes),
            grpc_port=grpc_port,
            http_port=http_port,
            gateways=gateways,
            schedulers=schedulers,
            tls=tls,
            host=host,
            runtime=runtime.value,
            engine=os.environ.get("FOG_ENGINE_SOCKET", ""),
            start_timeout_s=timeout,
            nats_url=os.environ.get("FOG_NATS_URL") or None,
            database_url=os.environ.get("FOG_DATABASE_URL") or os.environ.get("DATABASE_URL"),
        )
        return run(options, JsonReporter() if json else TextReporter())
    except FleetFileError as error:
        raise UsageFailure(str(error)) from error
    except LocalError as error:
        raise CommandError(str(error)) from error


def _fleet(fleet: Path | None, nodes: int | None) -> "Sequence[SimulatedNode] | None":
    from fogbank.local.fleet import default_fleet, read_fleet_file

    if fleet is not None and nodes is not None:
        raise UsageFailure("give either --fleet or --nodes, not both")
    if fleet is not None:
        return read_fleet_file(fleet)
    return default_fleet(nodes) if nodes is not None else None
