"""Events in their envelopes, and commits: the log's messages."""

from __future__ import annotations

from fogbank.domain.events import Event
from fogbank.domain.value import value

GATEWAY = "gateway"
SCHEDULER = "scheduler"

# What actors that give commands are: their id follows, after a slash.
USER = "user"
SERVICE_ACCOUNT = "service-account"


@value
class CommandTerms:
    """What a command demands of the state it meets, and what tells a repeat from a clash.

    `content_digest` is the SHA-256 of the command's content; `expected_version` is the version
    (a position) that the deployment must have, 0 for any.
    """

    content_digest: bytes
    expected_version: int = 0


@value
class EventEnvelope:
    """One event: who did it, to what, when by the writer's clock, and because of what.

    `event` is None only for a type that this release does not know and may ignore. `causes` are
    positions of what led to it: of a round one for each outcome, of a report one for each
    observation, 0 for nothing in the log.
    """

    event_id: str
    event: Event | None
    aggregate: str
    actor: str
    occurred_at_us: int
    causation_id: str = ""
    correlation_id: str = ""
    traceparent: str = ""
    may_ignore: bool = False
    command: CommandTerms | None = None
    causes: tuple[int, ...] = ()

    @property
    def content_digest(self) -> bytes:
        """The digest of what a command asks for; empty for what is none."""
        return self.command.content_digest if self.command else b""


@value
class Commit:
    """A commit as read from the log; `service` is the writer's, by its subject."""

    sequence: int
    service: str
    instance: str
    digest: bytes
    appended_at_us: int
    envelopes: tuple[EventEnvelope, ...]
