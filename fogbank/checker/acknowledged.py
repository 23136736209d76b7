"""What callers were promised: commands that were acknowledged to them, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from uuid import UUID, uuid5

from fogbank.checker.report import Findings, Place, Rule
from fogbank.v1 import facts_pb2

CREATE = "create"
SCALE = "scale"
UPDATE = "update"
DELETE = "delete"
_COMMANDS = frozenset({CREATE, SCALE, UPDATE, DELETE})
ENDS = frozenset({"", "running", "completed", "failed", "deleted"})

# The root of the ids of commands, part of the contract with whoever repeats a request.
_NAMESPACE = UUID("6f6ce9a5-32f5-5a0e-9a0b-5d9b2e7f3c11")


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A command that a caller was told is accepted.

    It is found by `event_id`, else by owner, method and request id, else (a deletion, a scaling) by
    what it does to the deployment; an update may be under one of several ids and needs the
    `event_id`. `replicas` is what a creation or a scaling asked for, 0 for not recorded. `end` is
    how the deployment is to end up, empty for whatever the log says.
    """

    command: str
    deployment_id: str
    event_id: str = ""
    owner_id: str = ""
    method: str = ""
    request_id: str = ""
    replicas: int = 0
    end: str = ""

    def known_event_id(self) -> str:
        """Return the id of the command's event; empty if nothing recorded tells it."""
        if self.event_id:
            return self.event_id
        if self.owner_id and self.method and self.request_id:
            name = f"{self.owner_id}\n{self.method}\n{self.request_id}"
            return str(uuid5(_NAMESPACE, name))
        return self.deployment_id if self.command == CREATE else ""


_FIELDS = frozenset(entry.name for entry in fields(Acknowledged))


def parse_acknowledged(lines: Iterable[str]) -> list[Acknowledged]:
    """Return the commands that JSON lines record, one object with the fields' names on each line.

    ValueError for a line that records none; says which.
    """
    return [_parse(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _parse(number: int, line: str) -> Acknowledged:
    try:
        content = json.loads(line)
        if not isinstance(content, dict) or not _FIELDS.issuperset(content):
            raise ValueError(f"must be an object with some of {', '.join(sorted(_FIELDS))}")
        found = Acknowledged(**content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"line {number}: {error}") from error
    if found.command not in _COMMANDS or found.end not in ENDS or not found.deployment_id:
        raise ValueError(
            f"line {number}: needs a deployment_id, a command of {', '.join(sorted(_COMMANDS))} "
            f"and, if any, an end of {', '.join(sorted(ENDS - {''}))}"
        )
    return found


@dataclass(slots=True)
class _Seen:
    """The events of one id, or of one thing done: how many, how many count, and what they say."""

    events: int = 0
    counting: int = 0
    content: tuple[str, str, int] = ("", "", 0)


@dataclass(slots=True)
class Promises:
    """Watches for the acknowledged commands while the log goes by."""

    acknowledged: list[Acknowledged]
    _by_id: dict[str, _Seen] = field(default_factory=dict)
    _by_content: dict[tuple[str, str, int], _Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note what to watch for."""
        for promise in self.acknowledged:
            event_id = promise.known_event_id()
            if event_id:
                self._by_id.setdefault(event_id, _Seen())
            else:
                key = (promise.command, promise.deployment_id, promise.replicas)
                self._by_content.setdefault(key, _Seen())

    def saw(self, event_id: str, event: object, *, counts: bool) -> None:
        """Note an event of the log."""
        if not self.acknowledged:
            return
        content = _content(event_id, event)
        if content is None:
            return
        seen = self._by_id.get(event_id)
        if seen is not None:
            seen.content = content if counts or not seen.events else seen.content
            _count(seen, counts=counts)
        command, deployment_id, replicas = content
        for number in {0, replicas}:
            by_content = self._by_content.get((command, deployment_id, number))
            if by_content is not None:
                _count(by_content, counts=counts)

    def finish(self, findings: Findings, place: Place) -> None:
        """Find promises that the log does not keep."""
        for promise in self.acknowledged:
            event_id = promise.known_event_id()
            key = (promise.command, promise.deployment_id, promise.replicas)
            seen = self._by_id[event_id] if event_id else self._by_content[key]
            words = f"the acknowledged {promise.command} of deployment {promise.deployment_id}"
            if seen.counting == 0:
                how = f"is void, {seen.events} times" if seen.events else "is not in the log"
                findings.add(place, Rule.ACKNOWLEDGED_LOST, f"{words} {how}")
            elif seen.counting > 1 and (event_id or promise.command == DELETE):
                findings.add(
                    place, Rule.ACKNOWLEDGED_TWICE, f"{words} counts {seen.counting} times"
                )
            elif event_id and not _matches(promise, seen.content):
                findings.add(
                    place,
                    Rule.ACKNOWLEDGED_DIFFERS,
                    f"{words} ({promise.replicas} replicas) is in the log as "
                    f"{seen.content[0]} of {seen.content[1]} ({seen.content[2]} replicas)",
                )


def _count(seen: _Seen, *, counts: bool) -> None:
    seen.events += 1
    seen.counting += counts


def _matches(promise: Acknowledged, content: tuple[str, str, int]) -> bool:
    command, deployment_id, replicas = content
    return (
        command == promise.command
        and deployment_id == promise.deployment_id
        and promise.replicas in {0, replicas}
    )


def _content(event_id: str, event: object) -> tuple[str, str, int] | None:
    """Return a command's kind, deployment and replicas; None for what is no such command."""
    if isinstance(event, facts_pb2.DeploymentCreated):
        return CREATE, event_id, event.spec.replicas
    if isinstance(event, facts_pb2.DeploymentScaled):
        return SCALE, event.deployment_id, event.replicas
    if isinstance(event, facts_pb2.DeploymentUpdated):
        return UPDATE, event.deployment_id, event.spec.replicas
    if isinstance(event, facts_pb2.DeploymentDeleted):
        return DELETE, event.deployment_id, 0
    return None
