"""Every event type keeps its bytes for ever."""

from fogbank.codec.registry import EVENT_TYPES
from tests.architecture.source_tree import ROOT, report

GOLDEN = ROOT / "tests/golden/events"


def _golden_names() -> set[str]:
    """Files are named `<full protobuf name>.<kind of file>`, like fogbank.v1.NodeConnected.bin."""
    return {path.stem for path in GOLDEN.glob("fogbank.*") if path.stat().st_size > 0}


def test_every_event_type_has_golden_bytes() -> None:
    problems = sorted(EVENT_TYPES.keys() - _golden_names())
    assert not problems, report(
        problems,
        f"Encode an example with every field set and keep it as {GOLDEN.relative_to(ROOT)}/"
        "<full protobuf name>.bin; it is never written again.",
    )


def test_no_event_type_was_forgotten() -> None:
    problems = sorted(_golden_names() - EVENT_TYPES.keys())
    assert not problems, report(
        problems,
        "These were written to logs once and must stay readable: put the type back into "
        "fogbank.codec.registry.EVENT_TYPES, with an upcaster if something newer replaced it.",
    )
