"""A whole local system as a process of its own, started, killed and stopped at will."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fogbank.local import launch
from tests.support.checked_log import assert_log_keeps_the_rules
from tests.support.waiting import eventually_sync

ROOT = Path(__file__).parents[2]

# Ten seconds on a machine with nothing else to do.
START_S = 600


def _ends_with(pid: int) -> list[str]:
    """Return what, before a command, has it stop when the process with this pid dies.

    So a test run that is killed leaves no system behind.
    """
    signal_number = str(int(signal.SIGTERM))
    keep_account = ("-1", "-1")
    return [sys.executable, "-I", "-S", launch.__file__, str(pid), signal_number, *keep_account]


class FogUp:
    """`fog up --json` on one data directory, on free ports."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        command: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._command = list(
            command
            or (
                *(sys.executable, "-m", "fogbank.cli.main", "up", "--json"),
                *("--data-dir", str(data_dir), "--grpc-port", "0", "--http-port", "0"),
                # Quick, and the same on a machine where an engine happens to run.
                *(() if "--runtime" in arguments else ("--runtime", "simulated")),
                *("--timeout", str(START_S)),
                *arguments,
            )
        )
        self._env = dict(os.environ) | {"PYTHONPATH": str(ROOT)} | dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._state: dict[str, Any] = {}
        self._ports: dict[str, int] = {}
        self._errors = data_dir.parent / f"{data_dir.name}.stderr"
        self._answer = data_dir.parent / f"{data_dir.name}.stdout"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether it was started and not yet seen to end."""
        return self._process is not None

    @property
    def errors(self) -> str:
        """What it said on standard error."""
        return self._errors.read_text(errors="replace")

    @property
    def state(self) -> dict[str, Any]:
        """What it keeps about itself on disk; as last seen while there is no disk."""
        with suppress(OSError):
            self._state = json.loads((self.data_dir / "state.json").read_text())
        assert self._state, "never ready"
        return self._state

    @property
    def grpc(self) -> str:
        """host:port of the first gateway."""
        return str(self.state["grpc"])

    @property
    def http(self) -> str:
        """URL of the first gateway's REST face."""
        return str(self.state["http"])

    @property
    def ports(self) -> dict[str, int]:
        """The TCP ports on 127.0.0.1, by purpose (`scheduler-1-grpc`, `nats`)."""
        with suppress(OSError):
            self._ports = json.loads((self.data_dir / "ports.json").read_text())
        return self._ports

    def pid(self, child: str) -> int:
        """Return the present pid of a child."""
        return int(self.state["pids"][child])

    def launch(self) -> None:
        """Start the process without waiting."""
        assert self._process is None, "already started"
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self._errors.open("wb") as errors, self._answer.open("wb") as answer:
            self._process = subprocess.Popen(
                [*_ends_with(os.getpid()), *self._command],
                stdout=answer,
                stderr=errors,
                cwd=ROOT,
                env=self._env,
            )

    def start(self, timeout_s: float = START_S + 30) -> dict[str, Any]:
        """Start it and return the line that it prints when ready."""
        self.launch()
        line = eventually_sync(self._line, timeout_s, what="fog up's line of JSON")
        assert line is not None
        ready: dict[str, Any] = json.loads(line)
        assert ready["ready"] is True
        return ready

    def _line(self) -> str | None:
        if self.process.poll() is not None:
            raise AssertionError(
                f"fog up ended with {self.process.returncode}: {self.errors}\n{self.logs()}"
            )
        text = self._answer.read_text()
        return text if text.endswith("\n") else None

    def logs(self, lines: int = 15) -> str:
        """Return the end of every child's log."""
        parts = []
        for path in sorted((self.data_dir / "logs").glob("*.log")):
            parts.append(f"--- {path.name}")
            parts += path.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(parts)

    def kill_child(self, child: str) -> int:
        """SIGKILL a child and return the pid that it had."""
        pid = self.pid(child)
        os.kill(pid, signal.SIGKILL)
        return pid

    def back(self, child: str, former: int, timeout_s: float = 600) -> int:
        """Wait until a killed child has a new process and return its pid."""

        def changed() -> int:
            pid = self.state["pids"].get(child, 0)
            return int(pid) if pid != former else 0

        return eventually_sync(changed, timeout_s, what=f"a new {child}")

    def kill_all(self) -> None:
        """SIGKILL the supervisor and every child, as a power cut would end them."""
        pids = self.state["pids"]
        for pid in (self.process.pid, *pids.values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reap()

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor alone."""
        self.process.kill()
        self._reap()

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 120) -> int:
        """Ask it to stop and return its exit code."""
        self.process.send_signal(how)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"fog up did not stop: {self.errors}\n{self.logs()}") from None
        finally:
            self._process = None

    def end(self) -> None:
        """Stop it if it runs, whatever it takes."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.stop()
        else:
            self._process = None

    def _reap(self) -> None:
        self.process.wait(60)
        self._process = None


@contextmanager
def temporary_data_dir() -> Generator[Path]:
    """Make a data directory for a test; short, and gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fogup-"))
    try:
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fog_up(*arguments: str, env: Mapping[str, str] | None = None) -> Generator[FogUp]:
    """Run a system that is ready while the context lasts; in the end its log keeps the rules."""
    with temporary_data_dir() as data_dir:
        system = FogUp(data_dir, *arguments, env=env)
        try:
            system.start()
            yield system
            if system.running:
                assert_log_keeps_the_rules(system.state["nats"])
        finally:
            system.end()


def fog(
    system: FogUp, *arguments: str, timeout_s: float = 120, input_text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a `fog` command against a system, as its first user."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in {"FOG_ADDR", "FOG_TOKEN", "FOG_DATA_DIR"}
    } | {
        "PYTHONPATH": str(ROOT),
        "FOG_DATA_DIR": str(system.data_dir),
        "XDG_CONFIG_HOME": str(system.data_dir.parent / "config"),
    }
    return subprocess.run(
        [sys.executable, "-m", "fogbank.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        cwd=ROOT,
        env=env,
        input=input_text,
    )
