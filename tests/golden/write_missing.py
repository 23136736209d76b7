"""Write golden bytes for event types that have none yet: `python -m tests.golden.write_missing`.

Files that exist are never written again: logs hold such bytes.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import json_format

from fogbank.codec.registry import BY_DOMAIN
from tests.golden.examples import EXAMPLES

EVENTS = Path(__file__).parent / "events"


def missing_files() -> dict[Path, bytes]:
    """Return what is to be written: the payload's bytes and a twin that people can read."""
    files = {}
    for event in EXAMPLES:
        kind = BY_DOMAIN[type(event)]
        message = kind.to_pb(event)
        readable = json_format.MessageToJson(
            message, preserving_proto_field_name=True, sort_keys=True, indent=2
        )
        files[EVENTS / f"{kind.name}.bin"] = message.SerializeToString(deterministic=True)
        files[EVENTS / f"{kind.name}.json"] = readable.encode() + b"\n"
    return {path: data for path, data in files.items() if not path.exists()}


def main() -> None:
    """Add the missing files."""
    for path, data in missing_files().items():
        path.write_bytes(data)


if __name__ == "__main__":
    main()
