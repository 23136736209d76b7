"""Remembers on disk which children run, so that the next start can end what a crash left."""

import signal
from pathlib import Path

from fogbank.local.data_dir import read_json, write_json
from fogbank.local.disk_trouble import DiskTrouble
from fogbank.local.process_identity import ProcessIdentity, identify

_PATIENCE_S = 5.0


class ChildRegister:
    """The children of this supervisor, by name."""

    def __init__(self, path: Path, trouble: DiskTrouble, patience_s: float = _PATIENCE_S) -> None:
        self._path = path
        self._trouble = trouble
        self._patience_s = patience_s
        self._running: dict[str, tuple[ProcessIdentity, signal.Signals]] = {}

    def started(self, name: str, pid: int, stop_signal: signal.Signals) -> None:
        """Note a new child and the signal that ends it in good order."""
        identity = identify(pid)
        if identity is not None:
            self._running[name] = (identity, stop_signal)
            self._note()

    def ended(self, name: str) -> None:
        """Forget a child that was waited for."""
        if self._running.pop(name, None) is not None:
            self._note()

    def pids(self) -> dict[str, int]:
        """Return the pid of each child that runs."""
        return {name: identity.pid for name, (identity, _) in self._running.items()}

    def _note(self) -> None:
        with self._trouble.borne("after a crash the next start may not end what was left running"):
            self._write()

    def _write(self) -> None:
        write_json(
            self._path,
            [
                {
                    "name": name,
                    "pid": identity.pid,
                    "started": identity.started,
                    "stop_signal": int(stop_signal),
                }
                for name, (identity, stop_signal) in self._running.items()
            ],
        )

    def end_former(self) -> list[str]:
        """End what a former supervisor left running and return the names.

        Only a process with the pid and the start time on record is touched. Call it with the data
        directory locked and before anything is started.
        """
        former: list[tuple[str, ProcessIdentity]] = []
        for record in read_json(self._path) or []:
            identity = ProcessIdentity(int(record["pid"]), str(record["started"]))
            if identity.signal(signal.Signals(record["stop_signal"])):
                former.append((str(record["name"]), identity))
        for _, identity in former:
            if not identity.wait_end(self._patience_s):
                identity.signal(signal.SIGKILL)
                identity.wait_end(self._patience_s)
        self._write()
        return [name for name, _ in former]
