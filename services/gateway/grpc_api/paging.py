"""Pages and their tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib

from fogbank.domain.errors import InvalidArgumentError
from services.gateway.core.bounds import LARGEST_OFFSET

MAX_PAGE = 1_000
DEFAULT_PAGE = 100
_DIGEST_BYTES = 8
_OFFSET_BYTES = 8


def page_size(given: int) -> int:
    """Return how many items a page is to have at most.

    Raises:
        InvalidArgumentError: out of bounds.
    """
    if not 0 <= given <= MAX_PAGE:
        raise InvalidArgumentError.of_field(
            "page_size", f"must be between 1 and {MAX_PAGE}, got {given}"
        )
    return given or DEFAULT_PAGE


def page_token(offset: int, query: bytes) -> str:
    """Return the token of the page that begins at an offset of a query's answer."""
    raw = _fingerprint(query) + offset.to_bytes(_OFFSET_BYTES, "big")
    return base64.urlsafe_b64encode(raw).decode()


def page_offset(token: str, query: bytes) -> int:
    """Return the offset that a token stands for, 0 for none.

    Raises:
        InvalidArgumentError: not a token that came with an answer to this query.
    """
    if not token:
        return 0
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    offset = int.from_bytes(raw[_DIGEST_BYTES:], "big")
    of_query = len(raw) == _DIGEST_BYTES + _OFFSET_BYTES and raw.startswith(_fingerprint(query))
    if not of_query or offset > LARGEST_OFFSET:
        raise InvalidArgumentError.of_field(
            "page_token", "must be the next_page_token of an answer to the same request"
        )
    return offset


def _fingerprint(query: bytes) -> bytes:
    return hashlib.sha256(query).digest()[:_DIGEST_BYTES]
