"""Places in the log.

A position is one integer, `sequence << 16 | index`: the commit's sequence and the event's index
within it. Epochs of nodes and versions of deployments are positions, so that comparing them says
which came first.
"""

from __future__ import annotations

import re

INDEX_BITS = 16
MAX_EVENTS_PER_COMMIT = 1 << INDEX_BITS

_ETAG = re.compile(r"([1-9][0-9]{0,13})(?:\.([1-9][0-9]{0,4}))?")


def pack(sequence: int, index: int) -> int:
    """Return the position of event `index` of commit `sequence`."""
    return sequence << INDEX_BITS | index


def sequence_of(position: int) -> int:
    """Return the commit's sequence."""
    return position >> INDEX_BITS


def index_of(position: int) -> int:
    """Return the event's index within its commit."""
    return position & (MAX_EVENTS_PER_COMMIT - 1)


def etag(position: int) -> str:
    """Return the text that users see: the sequence, and the index where it isn't 0."""
    index = index_of(position)
    return f"{sequence_of(position)}.{index}" if index else str(sequence_of(position))


def parse_etag(text: str) -> int | None:
    """Return the position that `etag` made the text of, or None if it made no such text."""
    match = _ETAG.fullmatch(text)
    if match is None:
        return None
    index = int(match[2] or 0)
    return pack(int(match[1]), index) if index < MAX_EVENTS_PER_COMMIT else None
