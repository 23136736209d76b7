"""`make help` is the front door: it names every target; the tiers of tests leave nothing out."""

import re
import subprocess
from itertools import product

from tests.architecture.source_tree import ROOT, report

MARKS = ("slow", "container", "kill", "soak")


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


def chosen(target: str) -> set[tuple[bool, ...]]:
    """Return which marks, in any combination, a test may carry that a target runs."""
    said = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (expression,) = re.findall(r'pytest .*?-m "(.*?)"', said.stdout)
    return {
        marks
        for marks in product((False, True), repeat=len(MARKS))
        if eval(expression, {}, dict(zip(MARKS, marks, strict=True)))  # noqa: S307
    }


def test_the_quick_tier_and_the_rest_are_all_and_share_nothing() -> None:
    quick, rest = chosen("test"), chosen("test-rest")
    assert quick
    assert quick | rest == chosen("test-all")
    assert not quick & rest
