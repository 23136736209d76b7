"""Documents lead somewhere: links resolve, decisions are listed, words are explained once."""

import re
from collections import Counter

from fogbank.domain.verdict import VoidReason
from tests.architecture.source_tree import ROOT, report, tracked_paths

LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s#]+)")


def test_links_between_documents_resolve() -> None:
    problems = [
        f"{name} -> {target}"
        for name in tracked_paths()
        if name.endswith(".md")
        for target in LINK.findall((ROOT / name).read_text(encoding="utf-8"))
        if not ((ROOT / name).parent / target).exists()
    ]
    assert not problems, report(problems, "Mend the link, or commit what it points to.")


def test_every_decision_is_listed_under_its_own_number() -> None:
    pages = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    problems = [f"{page} is not in docs/adr/README.md" for page in pages if page not in index]
    problems += [
        f"{number} is taken {count} times"
        for number, count in Counter(page[:4] for page in pages).items()
        if count > 1
    ]
    assert not problems, report(problems, "Number the page after the last one and add its row.")


def test_every_reason_for_which_events_are_void_is_in_the_tables_of_its_decision() -> None:
    text = (ROOT / "docs/adr/0009-rules-of-the-fold.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z_]+(?:, [A-Z_]+)*) \|", text, re.MULTILINE)
    told = {name for row in rows for name in row.split(", ")}
    known = {reason.name for reason in VoidReason}
    problems = [f"{name} is not told" for name in sorted(known - told)]
    problems += [f"{name} is no reason" for name in sorted(told - known)]
    assert not problems, report(problems, "Say in the table when an event is void for it.")


def test_the_vocabulary_explains_each_word_once() -> None:
    text = (ROOT / "docs/vocabulary.md").read_text(encoding="utf-8")
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE)
    problems = [word for word, count in Counter(words).items() if count > 1]
    assert words
    assert not problems, report(problems, "Keep the row in the group where the word belongs.")
