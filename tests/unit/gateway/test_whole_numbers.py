"""Whole numbers as callers write them."""

import pytest

from services.gateway.core.whole_numbers import whole_number


@pytest.mark.parametrize("number", [0, 7, 2**63 - 1])
def test_what_digits_write(number: int) -> None:
    assert whole_number(str(number)) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.5", " 1", "1_0", "²", "\u0661", str(2**63)])
def test_what_is_no_number(text: str) -> None:
    assert whole_number(text) is None


def test_thousands_of_digits_are_not_read() -> None:
    assert whole_number("9" * 5_000) is None
