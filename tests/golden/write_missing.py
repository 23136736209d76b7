"""Write golden bytes for event types that have none yet: `python -m tests.golden.write_missing`.

Files that exist are never written again: logs hold such bytes.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import json_format

from fogbank.codec.registry import BY_DOMAIN
from fogbank.domain import events as ev
from tests.golden.examples import EXAMPLES, LATER_EXAMPLES

EVENTS = Path(__file__).parent / "events"


def named_examples() -> dict[str, ev.Event]:
    """Return every example by where its files are, without their endings."""
    named = {BY_DOMAIN[type(event)].name: event for event in EXAMPLES}
    for what, events in LATER_EXAMPLES.items():
        named |= {f"{what}/{BY_DOMAIN[type(event)].name}": event for event in events}
    return named


def missing_files() -> dict[Path, bytes]:
    """Return what is to be written: the payload's bytes and a twin that people can read."""
    files = {}
    for name, event in named_examples().items():
        kind = BY_DOMAIN[type(event)]
        message = kind.to_pb(event)
        readable = json_format.MessageToJson(
            message, preserving_proto_field_name=True, sort_keys=True, indent=2
        )
        files[EVENTS / f"{name}.bin"] = message.SerializeToString(deterministic=True)
        files[EVENTS / f"{name}.json"] = readable.encode() + b"\n"
    return {path: data for path, data in files.items() if not path.exists()}


def main() -> None:
    """Add the missing files."""
    for path, data in missing_files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
