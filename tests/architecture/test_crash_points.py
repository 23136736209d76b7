"""Crash points: each has a name of its own, one row in the document, and nothing to do in cores."""

import re
from collections import Counter

from tests.architecture.source_tree import ROOT, report
from tests.support.crash_points import AT_FIRST_START, AT_START, places

DOCUMENT = "docs/crash-points.md"
NAME = re.compile(r"(gateway|scheduler|log|ledger|agent)\.(before|after)(-[a-z]+)+")
FEWEST = 50


def test_each_name_is_used_once_and_says_where_it_is() -> None:
    uses = Counter(place.name for place in places())
    problems = [f"{name} is used {count} times" for name, count in uses.items() if count > 1]
    problems += [
        f"{place.file}:{place.line} {place.name}"
        for place in places()
        if not NAME.fullmatch(place.name)
    ]
    assert len(uses) >= FEWEST
    assert not problems, report(problems, "Call it <part>.<before or after>-<step>.")


def test_the_document_lists_each_name() -> None:
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    listed = Counter(re.findall(r"^\| `([^`]+)` \| \S", text, re.MULTILINE))
    names = {place.name for place in places()}
    problems = [f"missing: {name}" for name in sorted(names - listed.keys())]
    problems += [f"no such point: {name}" for name in sorted(listed.keys() - names)]
    problems += [f"listed twice: {name}" for name, count in listed.items() if count > 1]
    assert not problems, report(problems, f"Mend the table in {DOCUMENT}.")


def test_what_is_said_of_starts_is_said_of_points_that_exist() -> None:
    assert {place.name for place in places()} >= AT_START | AT_FIRST_START
