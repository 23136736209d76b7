"""What `fog up` prints: progress and news for people, one line of JSON for programs."""

import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fogbank.cli.output import console
from fogbank.local.data_dir import DEFAULT_NAME
from fogbank.local.state import LocalState

if TYPE_CHECKING:
    from rich.status import Status

# The same error of the same child isn't told again within this time.
_QUIET_S = 30.0


class JsonReporter:
    """One line on standard output when ready; trouble on standard error."""

    def step(self, text: str) -> None:
        """Keep quiet."""

    def nodes_connected(self, connected: int, total: int) -> None:
        """Keep quiet."""

    def child_started(self, name: str, pid: int, *, again: bool) -> None:
        """Keep quiet."""

    def error_logged(self, child: str, text: str) -> None:
        """Keep quiet: it is in the child's log."""

    def child_ended(self, name: str, how: str, pause_s: float) -> None:
        """Tell it on standard error."""
        print(f"{name} ended ({how}), starting it again", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Tell it on standard error."""
        print(text, file=sys.stderr, flush=True)

    def ready(self, state: LocalState) -> None:
        """Print the line."""
        print(json.dumps(state.as_json()), flush=True)

    def stopping(self) -> None:
        """Keep quiet."""

    def close(self) -> None:
        """Nothing was taken."""


def _nodes(connected: int, engine: str) -> str:
    if engine:
        return f"{connected} nodes that run containers\non {engine}"
    return f"{connected} simulated nodes (they only pretend to run\ncontainers)"


def _trust(ca: str) -> str:
    """Return the line that names whom to trust; none for a system without TLS."""
    return f"  trust      {ca}\n" if ca else ""


def _for_psql(address: str) -> str:
    """Return an address of a database as PostgreSQL's own tools take it."""
    return address.replace("postgresql+asyncpg://", "postgresql://", 1)


class TextReporter:
    """A spinner with the present step on a terminal, lines elsewhere; then a summary."""

    def __init__(self) -> None:
        self._console = console(errors=True)
        self._spinner: Status | None = None
        self._began = time.monotonic()
        self._told: dict[tuple[str, str], float] = {}
        self._nodes = (0, 0)

    def step(self, text: str) -> None:
        """Show it beside the spinner."""
        if not self._console.is_terminal:
            self._line(text)
        elif self._spinner is None:
            self._spinner = self._console.status(text)
            self._spinner.start()
        else:
            self._spinner.update(text)

    def nodes_connected(self, connected: int, total: int) -> None:
        """Show how far it is."""
        if (connected, total) != self._nodes:
            self._nodes = (connected, total)
            if self._spinner is not None:
                self._spinner.update(f"{connected} of {total} nodes connected")

    def child_started(self, name: str, pid: int, *, again: bool) -> None:
        """Tell only of those that came back."""
        if again:
            self._line(f"{name} runs again (process {pid})")

    def child_ended(self, name: str, how: str, pause_s: float) -> None:
        """Tell it."""
        self._line(f"{name} ended ({how}), starting it again in {pause_s:g} s; see fog logs {name}")

    def error_logged(self, child: str, text: str) -> None:
        """Tell it, but not over and over."""
        now = time.monotonic()
        if now - self._told.get((child, text), -_QUIET_S) >= _QUIET_S:
            self._told[child, text] = now
            self._line(f"{child}: {text}")

    def note(self, text: str) -> None:
        """Tell it."""
        self._line(text)

    def ready(self, state: LocalState) -> None:
        """Print where everything is and what to do next."""
        self._end_spinner()
        seconds = time.monotonic() - self._began
        connected = self._nodes[1]
        print(
            f"""
Fogbank is ready after {seconds:.1f} s, with {_nodes(connected, state.engine)}.

  gRPC       {state.grpc}
  REST       {state.http}    in a browser: the dashboard; documentation: {state.http}/docs
  user       {state.admin_user}
  password   {state.admin_password}
{_trust(state.ca)}  SQL        psql {_for_psql(state.database)}
  data       {state.data_dir}    logs: {state.data_dir}/logs

Try, in another terminal in this folder:
{_where(state.data_dir)}
  .venv/bin/fog deploy -f examples/nginx-server.yaml --wait
  .venv/bin/fog ps
  .venv/bin/fog nodes

Ctrl-C stops it; `fog up` carries on from there.
""",
            flush=True,
        )

    def stopping(self) -> None:
        """Tell it."""
        self._end_spinner()
        self._line("stopping; Ctrl-C again ends it by force")

    def close(self) -> None:
        """End the spinner."""
        self._end_spinner()

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)

    def _end_spinner(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


def _where(data_dir: str) -> str:
    """Return what lets other commands find this system; empty where they do so anyway."""
    if Path(data_dir) == Path(DEFAULT_NAME).absolute():
        return ""
    return f"\n  export FOG_DATA_DIR={shlex.quote(data_dir)}"
