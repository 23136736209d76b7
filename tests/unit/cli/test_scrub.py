"""What `fog audit scrub` says."""

from __future__ import annotations

import pytest

from fogbank.cli.log_evidence import print_scrub
from fogbank.cli.output import OutputFormat
from fogbank.v1.audit_service_pb2 import GetLogScrubResponse


def _scrubbed(commits: int) -> GetLogScrubResponse:
    scrub = GetLogScrubResponse(commits=commits)
    scrub.ended_at.FromSeconds(1)
    return scrub


@pytest.mark.parametrize(
    ("scrub", "verdict"),
    [
        (_scrubbed(3), "both stores are sound"),
        (_scrubbed(0), "there was no commit to look at"),
        (GetLogScrubResponse(), ""),
    ],
)
def test_only_what_was_looked_at_is_sound(
    scrub: GetLogScrubResponse, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_scrub(scrub, OutputFormat.TABLE)
    said = capsys.readouterr().out
    assert ("verdict:" in said) == bool(verdict)
    assert verdict in said


def test_what_was_found_comes_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    scrub = _scrubbed(3)
    scrub.findings.add(sequence=2, problem="the copy was changed")
    print_scrub(scrub, OutputFormat.TABLE)
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == "2: the copy was changed"
    assert "fog audit restore --dry-run" in said[-1]
