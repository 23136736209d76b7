"""Where one-off work on a local system's two stores finds them."""

import os
from pathlib import Path

from fogbank.local.data_dir import DataDir
from fogbank.local.ports import HOST, Ports
from fogbank.local.postgres import PostgresServer
from fogbank.local.secret_files import SecretFiles, read_secret
from fogbank.local.state import read_state


def maintenance_environment(data: DataDir, broker_user: str) -> dict[str, str] | None:
    """Return the environment of a system's ledger, with another user of the broker.

    None where no system was started.
    """
    state = read_state(data)
    if state is None:
        return None
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    # What the last start chose: the state is written only when all is ready.
    ports, secrets = Ports(data.ports_file), SecretFiles(data.secrets)
    database, database_port = state.database, ports.kept("postgres")
    if data.postgres.exists() and database_port:
        database = PostgresServer(database_port, read_secret(secrets.postgres_password)).url
    environment = dict(os.environ) | {
        "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
        "DATABASE_URL": database,
        "FOG_CHECKPOINT_DIR": str(data.checkpoints),
        "FOG_CHECKPOINT_KEY_FILE": str(secrets.checkpoint_key),
    }
    environment.pop("FOG_DATABASE_URL", None)
    password = secrets.nats_password(broker_user)
    if state.nats.startswith(f"nats://{broker_user}:") and password.exists():
        environment |= {
            "FOG_NATS_URL": f"nats://{HOST}:{ports.kept('nats')}",
            "FOG_NATS_USER": broker_user,
            "FOG_NATS_PASSWORD_FILE": str(password),
            "FOG_NATS_MONITOR_URL": f"http://{HOST}:{ports.kept('nats-monitor')}",
        }
        environment.pop("FOG_NATS_PASSWORD", None)
    else:
        # A broker of the user's own: how to sign in there is in the environment.
        environment["FOG_NATS_URL"] = state.nats
    return environment


def accounts_environment(data: DataDir) -> dict[str, str] | None:
    """Return the environment for work on a system's accounts: its database and its sealing key.

    None where no system was started.
    """
    environment = maintenance_environment(data, "gateway")
    if environment is None:
        return None
    environment.pop("FOG_SEALING_KEY", None)
    sealing_key = SecretFiles(data.secrets).sealing_key
    return environment | {"FOG_SEALING_KEY_FILE": str(sealing_key)}
