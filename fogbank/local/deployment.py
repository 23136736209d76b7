"""Secrets and the broker's configuration for deploy/compose.yaml.

`python -m fogbank.local.deployment deploy/secrets` makes what is missing there and keeps what is
there, apart from what is rendered from it: the broker's configuration and the database's address.
Everything is readable by its owner alone; run as root it belongs to the images' user.
"""

import argparse
import os
import sys
from pathlib import Path

from fogbank.local.errors import LocalError
from fogbank.local.secret_files import SecretFiles, read_secret
from fogbank.log.broker_config import BrokerConfig, BrokerConfigError, BrokerTls
from fogbank.log.stream import StreamName
from fogbank.runtime.private_files import write_private

# The user of the images, see deploy/Dockerfile.
IMAGE_USER = 10001

_NATS_CONFIG = "nats_server_conf"
_DATABASE_URL = "database_url"


def prepare(folder: Path, name: StreamName, tls: BrokerTls | None = None) -> None:
    """Make the files that deploy/compose.yaml mounts; the hosts' names are those it gives.

    Raises:
        LocalError: they can't be written, or the fleet's name can't be one.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        secrets = SecretFiles(folder)
        secrets.ensure()
        write_private(
            folder / _NATS_CONFIG,
            BrokerConfig(
                name=name,
                listen="0.0.0.0:4222",
                monitor_listen="0.0.0.0:8222",
                store_dir="/data",
                passwords=secrets.nats_passwords(),
                tls=tls,
            ).render(),
        )
        password = read_secret(secrets.postgres_password)
        write_private(
            folder / _DATABASE_URL,
            f"postgresql+asyncpg://fogbank:{password}@postgres:5432/fogbank\n",
        )
        if os.geteuid() == 0:
            for path in folder.iterdir():
                os.chown(path, IMAGE_USER, IMAGE_USER)
    except (OSError, BrokerConfigError) as error:
        raise LocalError(f"cannot prepare {folder}: {error}") from error


def main() -> None:
    """Prepare the folder that the command line names; exit code 1 if that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m fogbank.local.deployment", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="where to put them, deploy/secrets")
    parser.add_argument("--fleet", default="default")
    parser.add_argument("--generation", type=int, default=1)
    parser.add_argument("--nats-cert", type=Path, help="as the broker's container sees it")
    parser.add_argument("--nats-key", type=Path, help="as the broker's container sees it")
    parser.add_argument("--nats-client-ca", type=Path, help="demand certificates signed by it")
    options = parser.parse_args()
    if (options.nats_cert is None) != (options.nats_key is None):
        parser.error("--nats-cert and --nats-key belong together")
    tls = (
        BrokerTls(options.nats_cert, options.nats_key, options.nats_client_ca)
        if options.nats_cert
        else None
    )
    try:
        prepare(options.folder, StreamName(options.fleet, options.generation), tls)
    except (LocalError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    print(f"secrets and the broker's configuration are in {options.folder}")
    if os.geteuid() != 0:
        print(f"start compose with FOG_UID={os.getuid()} FOG_GID={os.getgid()}")


if __name__ == "__main__":
    main()
