"""Errands: what users want of replicas at once, and what agents bring of it. Never in the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogsErrand:
    """Read what a container wrote, or the one before it: the last lines, and what follows."""

    tail: int
    follow: bool
    previous: bool = False


@dataclass(frozen=True, slots=True)
class ExecErrand:
    """Run a command in a container."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Errand:
    """Something that a user wants of a replica now; whoever knows its id may answer."""

    errand_id: str
    replica_id: str
    kind: LogsErrand | ExecErrand


@dataclass(frozen=True, slots=True)
class Brought:
    """A piece of what an errand brings; the last one has an exit code, or says why it failed."""

    data: bytes = b""
    is_error: bool = False
    exit_code: int | None = None
    failure: str = ""
