"""Events to bytes and back: the only place where the domain meets protobuf.

Modules are imported when something of them is asked for: the node agent maps a few values, and
comes without what folds of whole logs need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "EVENT_TYPES": "registry",
    "CodecError": "errors",
    "UnknownEventError": "errors",
    "decode_commit": "commits",
    "encode_commit": "commits",
    "encode_envelope": "commits",
}


def __getattr__(name: str) -> Any:
    """Return one of the names above from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
