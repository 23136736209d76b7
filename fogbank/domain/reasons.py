"""What people are told of why, no longer than a commit has room for."""

from __future__ import annotations

# Of UTF-8. A full report of a node, of 256 replicas with such reasons each, fits in one commit.
MAX_REASON_BYTES = 1_024


def cut_reason(text: str, most_bytes: int = MAX_REASON_BYTES) -> str:
    """Return the beginning of a text, in whole characters, of at most so many bytes of UTF-8.

    What UTF-8 has no bytes for becomes question marks.
    """
    data = text.encode(errors="replace")
    return data[:most_bytes].decode(errors="ignore")
