"""Migrations of a database follow one another in one line, by their numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[2] / "services"
NAME = re.compile(r"(\d{4})_\w+\.py")
SAID = re.compile(r'^(revision|down_revision) = (?:"(\d{4})"|None)$', re.MULTILINE)


@pytest.mark.parametrize("service", ["gateway", "ledger"])
def test_each_migration_follows_the_one_before(service: str) -> None:
    files = sorted((SERVICES / service / "adapters" / "migrations" / "versions").glob("0*.py"))
    before = ""
    for number, file in enumerate(files, start=1):
        found = NAME.fullmatch(file.name)
        assert found, f"{file.name} is no NNNN_name.py"
        revision = f"{number:04}"
        assert found[1] == revision, f"{file.name} would be {revision}: number it anew"
        assert dict(SAID.findall(file.read_text())) == {
            "revision": revision,
            "down_revision": before,
        }, f"{file.name} must be {revision}, after {before or 'none'}"
        before = revision
    assert files
