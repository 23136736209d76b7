"""Events to bytes and back: the only place where the domain meets protobuf."""

from fogbank.codec.commits import decode_commit, encode_commit, encode_envelope
from fogbank.codec.errors import CodecError, UnknownEventError
from fogbank.codec.registry import EVENT_TYPES

__all__ = [
    "EVENT_TYPES",
    "CodecError",
    "UnknownEventError",
    "decode_commit",
    "encode_commit",
    "encode_envelope",
]
