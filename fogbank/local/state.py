"""What a running local system tells others about itself: one JSON object."""

from dataclasses import asdict, dataclass, field
from typing import Any

from fogbank.local.data_dir import DataDir, read_json, write_json


@dataclass(frozen=True, slots=True)
class LocalState:
    """Addresses, the first user, and processes by name."""

    grpc: str
    http: str
    nats: str = field(repr=False)  # holds a password
    database: str = field(repr=False)  # holds a password
    admin_user: str
    admin_password: str = field(repr=False)
    data_dir: str
    pids: dict[str, int]
    ca: str = ""  # file of the certificate to trust; empty if nothing speaks TLS
    engine: str = ""  # where containers really run; empty if nodes only pretend

    def as_json(self, *, ready: bool = True) -> dict[str, Any]:
        """Return it as `fog up --json` prints it."""
        return {"ready": ready} | asdict(self)

    def write(self, data: DataDir, *, ready: bool, at: float) -> None:
        """Keep it in the data directory; `at` in seconds since 1970."""
        write_json(data.state_file, self.as_json(ready=ready) | {"written_at": round(at, 3)})


def read_state(data: DataDir) -> LocalState | None:
    """Return what was last written, or None if nothing usable was."""
    content = read_json(data.state_file)
    try:
        return LocalState(
            **{name: content[name] for name in LocalState.__slots__ if name in content}
        )
    except TypeError:
        return None
