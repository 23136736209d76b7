"""Past moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fogbank.cli.failures import UsageFailure
from fogbank.cli.moments import moment

NOW = datetime(2031, 4, 5, 6, 7, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2 hours ago", "2031-04-05T04:07:08Z"),
        ("1 hour ago", "2031-04-05T05:07:08Z"),
        ("90s ago", "2031-04-05T06:05:38Z"),
        ("1.5 days ago", "2031-04-03T18:07:08Z"),
        (" 10 Minutes ago ", "2031-04-05T05:57:08Z"),
        ("2030-01-02T03:04:05Z", "2030-01-02T03:04:05Z"),
        ("2030-01-02T03:04:05.25+02:00", "2030-01-02T01:04:05.250Z"),
    ],
)
def test_times(text: str, wanted: str) -> None:
    assert moment(text, NOW).time.ToJsonString() == wanted


def test_a_number_is_a_log_sequence() -> None:
    assert moment("1234", NOW).sequence == 1234


@pytest.mark.parametrize(
    "text", ["", "0", "-3", "yesterday", "2 fortnights ago", "12:00", "9" * 30, "1969-01-01", "ago"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(UsageFailure, match="--at"):
        moment(text, NOW)
