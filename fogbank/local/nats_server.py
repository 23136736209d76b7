"""The embedded broker: its configuration and how it is run."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from fogbank.domain.errors import FogError
from fogbank.local.child import ChildSpec
from fogbank.local.data_dir import DataDir
from fogbank.local.errors import LocalError
from fogbank.local.ports import HOST
from fogbank.local.secret_files import SecretFiles, read_secret
from fogbank.log.broker_config import OPERATOR, BrokerConfig, BrokerConfigError
from fogbank.log.setup import set_up
from fogbank.log.stream import StreamName
from fogbank.runtime.operator_error import OperatorError
from fogbank.runtime.private_files import write_private
from fogbank.runtime.settings import FleetSettings, Secret


@dataclass(frozen=True, slots=True)
class NatsServer:
    """Where the broker listens, whose log it keeps, and where its users' passwords are."""

    port: int
    monitor_port: int
    secrets: SecretFiles
    name: StreamName

    @property
    def url(self) -> str:
        """With which the operator connects; holds the password."""
        password = read_secret(self.secrets.nats_password(OPERATOR))
        return f"nats://{OPERATOR}:{password}@{HOST}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Where the broker tells about itself."""
        return f"http://{HOST}:{self.monitor_port}"

    def settings(self, user: str) -> dict[str, str]:
        """Return the settings with which a service finds it and proves to be its user."""
        return {
            "FOG_NATS_URL": f"nats://{HOST}:{self.port}",
            "FOG_NATS_MONITOR_URL": self.monitor_url,
            "FOG_NATS_USER": user,
            "FOG_NATS_PASSWORD_FILE": str(self.secrets.nats_password(user)),
        }

    def child(self, data: DataDir) -> ChildSpec:
        """Write the configuration and return how to run the broker with it.

        Raises:
            LocalError: nats-server is missing, or can't keep its store there.
        """
        configuration = data.nats / "nats-server.conf"
        try:
            text = BrokerConfig(
                name=self.name,
                listen=f"{HOST}:{self.port}",
                monitor_listen=f"{HOST}:{self.monitor_port}",
                store_dir=str(data.nats / "store"),
                passwords=self.secrets.nats_passwords(),
                server_name="fogbank-local",
            ).render()
        except BrokerConfigError as error:
            raise LocalError(f"the broker can't be configured: {error}") from error
        write_private(configuration, text)
        return ChildSpec(
            name="nats",
            command=(_program(), "--config", str(configuration)),
            log=data.log_file("nats"),
            env={"GOMAXPROCS": "2"},
        )

    async def make_log(self, settings: FleetSettings) -> None:
        """Make the log, which no service may do, if there is none; `settings` say how large.

        Raises:
            LocalError: the broker refuses.
        """
        changes = {
            "instance": "fog-up",
            "nats_url": f"nats://{HOST}:{self.port}",
            "nats_monitor_url": self.monitor_url,
            "nats_user": OPERATOR,
            "nats_password": Secret(read_secret(self.secrets.nats_password(OPERATOR))),
            "nats_credentials": None,
            "nats_tls_ca": None,
            "nats_tls_cert": None,
            "nats_tls_key": None,
        }
        try:
            await set_up(replace(settings, **changes))
        except (OperatorError, FogError) as error:
            raise LocalError(f"the log can't be set up: {error}") from error


def _program() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is None:
        raise LocalError(
            "nats-server is not installed; install fogbank[local], or name a running broker in "
            "FOG_NATS_URL"
        )
    return program
