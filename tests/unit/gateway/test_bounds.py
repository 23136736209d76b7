"""How amounts that are out of bounds are told of."""

import pytest

from services.gateway.core.bounds import shown_number


@pytest.mark.parametrize(
    ("number", "scale", "shown"),
    [
        (0, 1, "0"),
        (0.1 * 1000, 1000, "0.1"),
        (400, 1000, "0.4"),
        (16_000, 1000, "16"),
        (16_777_216, 1, "16777216"),
        (-1, 1, "-1"),
        (1 / 3, 1, "0.3333333333"),
        (1e-7, 1, "1e-07"),
        (10**400, 1000, "1e+397"),
        (-(10**400), 1, "-1e+400"),
        (1e308, 1, "1e+308"),
    ],
)
def test_numbers_are_shown_without_needless_digits(number: float, scale: int, shown: str) -> None:
    assert shown_number(number, scale) == shown
