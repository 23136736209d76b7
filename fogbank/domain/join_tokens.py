"""Join tokens as text: which one, its secret, and the authority that its bearer is to trust."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass
from hashlib import sha256
from typing import Self
from uuid import UUID

PREFIX = "fogjoin-"

_ID_BYTES = 16
_PART_BYTES = 32
_CHECK_BYTES = 3
_LENGTH = _ID_BYTES + 2 * _PART_BYTES


@dataclass(frozen=True, slots=True, repr=False)
class JoinToken:
    """A token: its id (UUID), its secret, and the SHA-256 of the authority's certificate."""

    id: str
    secret: bytes
    authority: bytes

    @property
    def text(self) -> str:
        """The token as people copy it; it ends in a checksum."""
        content = UUID(self.id).bytes + self.secret + self.authority
        return PREFIX + urlsafe_b64encode(content + _check(content)).decode()

    @property
    def secret_digest(self) -> bytes:
        """What the log has in place of the secret."""
        return sha256(self.secret).digest()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token; ValueError, which doesn't repeat it, for what is none."""
        text = text.strip()
        if not text.startswith(PREFIX):
            raise ValueError(f"a join token begins with {PREFIX!r}; `fog nodes token` makes one")
        try:
            data = urlsafe_b64decode(text.removeprefix(PREFIX).encode())
        except (NotBase64, ValueError, UnicodeEncodeError):
            data = b""
        content, check = data[:_LENGTH], data[_LENGTH:]
        if len(content) != _LENGTH or check != _check(content):
            raise ValueError("the join token is cut short or mistyped: copy it whole")
        middle = _ID_BYTES + _PART_BYTES
        return cls(
            str(UUID(bytes=content[:_ID_BYTES])), content[_ID_BYTES:middle], content[middle:]
        )


def _check(content: bytes) -> bytes:
    return sha256(content).digest()[:_CHECK_BYTES]
