"""TCP ports for children: chosen once, kept, chosen again when somebody else took one."""

import random
import socket
from pathlib import Path

from fogbank.local.data_dir import read_json, write_json
from fogbank.local.errors import LocalError

HOST = "127.0.0.1"
# Where the first gateway listens unless somebody says otherwise.
GRPC_PORT = 50_051
HTTP_PORT = 8_000

# Below the range from which kernels take ports for outgoing connections, so that none of those
# takes a port while its child is being restarted.
_LOWEST = 20_000
_HIGHEST = 32_000
_ATTEMPTS = 1_000


class Ports:
    """Hands out the port of each purpose, the same one at each start if it is still free."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = read_json(path)
        self._kept: dict[str, int] = kept if isinstance(kept, dict) else {}
        self._given: set[int] = set()

    def internal(self, purpose: str) -> int:
        """Return a free port for `purpose`: the kept one if it is free, else a new one."""
        port = self._kept.get(purpose)
        if port is None or port in self._given or not is_free(port):
            port = self._choose()
        return self._give(purpose, port)

    def public(self, purpose: str, wanted: int | None, usual: int, option: str) -> int:
        """Return the port that the user wants; 0 is any free one, kept like the internal ones.

        Who wants none in particular gets the one of the last start, at the first the usual one.

        Raises:
            LocalError: it is taken; names the option that gives another.
        """
        if wanted is None:
            wanted = self.kept(purpose) or usual
        if wanted == 0:
            return self.internal(purpose)
        if not is_free(wanted):
            raise LocalError(
                f"port {wanted} on {HOST} is taken by another program; give another one with "
                f"{option} PORT, or {option} 0 for any free one"
            )
        return self._give(purpose, wanted)

    def kept(self, purpose: str) -> int | None:
        """Return the port that was given at the last start, whoever has it now."""
        return self._kept.get(purpose)

    def save(self) -> None:
        """Keep the choice for the next start."""
        write_json(self._path, self._kept)

    def _give(self, purpose: str, port: int) -> int:
        self._given.add(port)
        self._kept[purpose] = port
        return port

    def _choose(self) -> int:
        for _ in range(_ATTEMPTS):
            port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311  a port is no secret
            if port not in self._given and is_free(port):
                return port
        raise LocalError(f"no free TCP port between {_LOWEST} and {_HIGHEST}")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the past that linger in TIME_WAIT don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True
