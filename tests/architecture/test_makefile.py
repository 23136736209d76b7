"""`make help` is the front door: it names every target."""

import re

from tests.architecture.source_tree import ROOT, report


def test_every_target_has_a_sentence() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (\S+)$", text, re.MULTILINE)
    problems = [
        target
        for target in targets
        if not re.search(rf"^{target}:.*## .+\.$|^{target}:.*## .+\)\.?$", text, re.MULTILINE)
    ]
    assert targets
    assert not problems, report(problems, "Give the target a `## Sentence.` on its own line.")
