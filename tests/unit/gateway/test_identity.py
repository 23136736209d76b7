"""What names and passwords an account may have."""

import pytest

from fogbank.domain.errors import InvalidArgumentError
from services.gateway.app.identity import check_password, check_username, name_key


@pytest.mark.parametrize("name", ["ambesh4", "bob", "x" * 64, "Zoë", "a b", "admin@example.org"])
def test_names_that_are_taken(name: str) -> None:
    check_username(name)


@pytest.mark.parametrize("name", ["", "ab", "x" * 65, "x" * 10_000, " bob", "bob ", "b\0b", "b\nb"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^username must be") as refusal:
        check_username(name)
    assert [violation.field for violation in refusal.value.violations] == ["username"]
    assert len(refusal.value.message) < 300


def test_six_characters_are_a_password() -> None:
    check_password("ambesh")
    with pytest.raises(InvalidArgumentError, match="6 to 256 characters, got 5"):
        check_password("ambes")
    with pytest.raises(InvalidArgumentError, match="got 257"):
        check_password("x" * 257)


def test_a_refused_password_is_not_repeated() -> None:
    with pytest.raises(InvalidArgumentError) as refusal:
        check_password("pass!")
    assert "pass!" not in refusal.value.message


def test_names_that_look_alike_are_the_same() -> None:
    assert name_key("Ambesh") == name_key("AMBESH") == name_key("\uff21mbesh")
    assert name_key("straße") == name_key("STRASSE")
