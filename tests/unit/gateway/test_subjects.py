"""Which subjects a pattern fits, as the broker would have it."""

import pytest

from fogbank.domain.errors import InvalidArgumentError
from services.gateway.core.subjects import MAX_PATTERNS, SubjectFilter

SUBJECT = "fogbank.default.1.scheduler.one"


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        (SUBJECT, True),
        ("fogbank.default.1.scheduler.*", True),
        ("fogbank.*.1.scheduler.*", True),
        ("fogbank.>", True),
        (">", True),
        ("*.*.*.*.>", True),
        ("*.*.*.*.*", True),
        (f"{SUBJECT}.>", False),
        (f"{SUBJECT}.*", False),
        ("fogbank.default.1.scheduler", False),
        ("fogbank.default.1.gateway.*", False),
        ("*", False),
    ],
)
def test_wildcards(pattern: str, *, fits: bool) -> None:
    assert SubjectFilter.parse([pattern]).fits(SUBJECT) is fits


def test_one_of_several_is_enough_and_none_is_all() -> None:
    assert SubjectFilter.parse(["x.>", "*.*.*.scheduler.*"]).fits(SUBJECT)
    assert not SubjectFilter.parse(["x.>", "*.*.*.gateway.*"]).fits(SUBJECT)
    assert SubjectFilter.parse([]).fits(SUBJECT)


@pytest.mark.parametrize(
    "pattern", ["", ".", "a.", ".a", "a..b", "a.>.b", "a*", "a.b>", "a b", "a.**", "a" * 513]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgumentError, match="subjects: must be tokens between dots"):
        SubjectFilter.parse(["fogbank.>", pattern])


def test_too_many_are_refused() -> None:
    patterns = [f"a.{number}" for number in range(MAX_PATTERNS + 1)]
    with pytest.raises(InvalidArgumentError, match="at most 16 patterns, were 17"):
        SubjectFilter.parse(patterns)
    SubjectFilter.parse(patterns[1:])
