"""Checkpoints of the tree: origin, size and root in a note that Ed25519 keys sign.

Form: https://c2sp.org/tlog-checkpoint over https://c2sp.org/signed-note, so that tools of others
read them too. A verifier key is one line, `<name>+<key id>+<base64 of 0x01 and the public key>`, a
private key one line that begins with `PRIVATE+KEY+`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_ROOT_BYTES = 32
_PRIVATE = "PRIVATE+KEY+"
_SIGNATURE = "\u2014 "  # an em dash begins each line of a signature
_MOST_DIGITS = 19


class NoteError(ValueError):
    """A note or a key cannot be read, or nobody that is trusted signed it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree at some instant: which log, how many commits, the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under the name of who signs with it."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """The key as one line, to be published."""
        return f"{self.name}+{self.id.hex()}+{b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a key's line.

        Raises:
            NoteError: it is none, or not of an Ed25519 key.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if raw[:1] != _ED25519 or len(raw) != 1 + _ROOT_BYTES:
            raise NoteError(f"{text.strip()!r} is not the line of an Ed25519 verifier key")
        key = cls(name, raw[1:])
        if key.id.hex() != key_id:
            raise NoteError(f"the key id of {text.strip()!r} should be {key.id.hex()}")
        return key


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key under the name of who signs with it; the name has no space and no plus."""

    name: str
    key: Ed25519PrivateKey

    @property
    def text(self) -> str:
        """The key as one line, to be kept secret."""
        verifier = self.verifier
        encoded = b64encode(_ED25519 + self.key.private_bytes_raw()).decode()
        return f"{_PRIVATE}{self.name}+{verifier.id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> Signer:
        """Read the line of a private key; a message never shows it.

        Raises:
            NoteError: it is none, or not of an Ed25519 key.
        """
        name, _, rest = text.strip().removeprefix(_PRIVATE).partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if not text.startswith(_PRIVATE) or raw[:1] != _ED25519 or len(raw) != 1 + _ROOT_BYTES:
            raise NoteError("this is not the line of an Ed25519 private key")
        signer = cls(name, Ed25519PrivateKey.from_private_bytes(raw[1:]))
        if signer.verifier.id.hex() != key_id:
            raise NoteError(f"the key id of the private key {name} does not fit it")
        return signer

    @property
    def verifier(self) -> VerifierKey:
        """The key that others need."""
        return VerifierKey(self.name, self.key.public_key().public_bytes_raw())

    def signature_line(self, text: str) -> str:
        """Return the line that signs a text."""
        verifier = self.verifier
        signed = b64encode(verifier.id + self.key.sign(text.encode())).decode()
        return f"{_SIGNATURE}{self.name} {signed}\n"


def sign(checkpoint: Checkpoint, signers: Iterable[Signer]) -> str:
    """Return a checkpoint as a note, signed by all; while keys change hands, by old and new."""
    lines = "".join(signer.signature_line(checkpoint.text) for signer in signers)
    return f"{checkpoint.text}\n{lines}"


def opened(note: str, keys: Iterable[VerifierKey]) -> str:
    """Return the text of a note that at least one of the keys signed; other signatures are ignored.

    Raises:
        NoteError: it is no note, none of the keys signed it, or one did so wrongly.
    """
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    known = {(key.name, key.id): key for key in keys}
    trusted = 0
    for line in signatures.splitlines():
        name, _, encoded = line.removeprefix(_SIGNATURE).partition(" ")
        raw = _decoded(encoded)
        key = known.get((name, raw[:_KEY_ID_BYTES]))
        if key is None or not line.startswith(_SIGNATURE):
            continue
        public = Ed25519PublicKey.from_public_bytes(key.public)
        try:
            public.verify(raw[_KEY_ID_BYTES:], text.encode())
        except InvalidSignature:
            raise NoteError(f"the signature of {name} does not fit the text") from None
        trusted += 1
    if not trusted:
        raise NoteError(f"none of the {len(known)} keys given signed it")
    return text


def read(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """Return the checkpoint in a note that at least one of the keys signed.

    Raises:
        NoteError: as `opened`, or the text is not that of a checkpoint.
    """
    lines = opened(note, keys).split("\n")
    if len(lines) < 4 or not lines[0]:  # noqa: PLR2004 (three lines, and what follows the last)
        raise NoteError("a checkpoint has a line each for origin, size and root")
    size, root = lines[1], _decoded(lines[2])
    if not (size.isascii() and size.isdigit() and len(size) <= _MOST_DIGITS):
        raise NoteError(f"{size[:_MOST_DIGITS]!r} is not the size of a tree")
    if len(root) != _ROOT_BYTES:
        raise NoteError(f"a root has {_ROOT_BYTES} bytes, not {len(root)}")
    return Checkpoint(lines[0], int(size), root)


def _decoded(encoded: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except (Base64Error, ValueError):
        return b""
