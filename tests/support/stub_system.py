"""`fog up --json` with stub services: the real supervisor, broker and database.

`python -m tests.support.stub_system DATA_DIR [NODES]`
"""

import os
import sys
from pathlib import Path

from fogbank.cli.failures import CommandError
from fogbank.cli.up_reporter import JsonReporter
from fogbank.cli.up_run import run
from fogbank.local.data_dir import DataDir
from fogbank.local.errors import LocalError
from fogbank.local.fleet import default_fleet
from fogbank.local.system import UpOptions


def stub_command(service: str) -> tuple[str, ...]:
    """Return the command that runs a stub of the service."""
    return (sys.executable, "-m", "tests.support.stub_service", service)


def main(data_dir: str, nodes: str = "8") -> int:
    os.environ["FOG_STUB_NODES"] = nodes
    options = UpOptions(
        data_dir=DataDir(Path(data_dir)),
        fleet=default_fleet(int(nodes)),
        grpc_port=int(os.environ.get("STUB_GRPC_PORT", "0")),
        http_port=0,
        runtime="simulated",
        start_timeout_s=120,
        nats_url=os.environ.get("FOG_NATS_URL"),
        database_url=os.environ.get("DATABASE_URL"),
        service_command=stub_command,
    )
    try:
        return run(options, JsonReporter())
    except (LocalError, CommandError) as error:
        sys.stderr.write(f"fog: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
