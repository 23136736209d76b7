"""What a fold says of an event: it counts, or it is void and why.

A void event stays in the record and means nothing. Every reader comes to the same verdict, so a
gateway may answer its caller with the verdict on its own commit.
"""

from __future__ import annotations

from enum import StrEnum

from fogbank.domain.members import at_hand
from fogbank.domain.value import value


@at_hand
class VoidReason(StrEnum):
    """Why an event means nothing."""

    DUPLICATE = "duplicate"
    STALE_VERSION = "stale version"
    MALFORMED = "malformed"
    UNKNOWN_DEPLOYMENT = "unknown deployment"
    DELETED = "deployment deleted"
    UNKNOWN_NODE = "unknown node"
    NODE_REMOVED = "node removed"
    NODE_CONNECTED = "the node connected before"
    OLD_EPOCH = "old epoch"
    NOT_NEXT_REPORT = "not the next report"
    UNKNOWN_ORGANIZATION = "unknown organization"
    UNKNOWN_CLUSTER = "unknown cluster"
    LAST_OWNER = "an organization keeps an owner"
    JOIN_UNKNOWN = "unknown join token"
    JOIN_REVOKED = "join token revoked"
    JOIN_EXPIRED = "join token expired"
    JOIN_USED_UP = "join token used up"
    OTHER_KEY = "the node has another key"
    WRONG_WRITER = "wrong writer"
    NOT_ALONE = "a round is alone in its commit"
    STALE_ROUND = "not decided on the last round"
    FALLING_INSTANT = "instant before the last round's"
    FACTS_OUT_OF_RANGE = "facts_to not between the last round and this one"
    IGNORED = "type not known to this release"


@value
class Verdict:
    """The verdict on the event at `position`; `reason` is None if it counts.

    For a duplicate, `original` is the verdict on the first of its id, and `content_digest` is
    that event's, so that a repeat can be told from a clash.
    """

    position: int
    reason: VoidReason | None = None
    content_digest: bytes = b""
    original: Verdict | None = None

    @property
    def accepted(self) -> bool:
        """Tell whether the event counts."""
        return self.reason is None
