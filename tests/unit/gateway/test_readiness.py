"""When a gateway says that calls had better go elsewhere, and when that they may come again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.gateway.app.readiness import follow_readiness


class ScriptEndedError(Exception):
    """No look is left."""


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ("+++", ""),
        ("--+--+", ""),
        ("---", "-"),
        ("------", "-"),
        ("---+", "-+"),
        ("+---++--+----+", "-+-+"),
    ],
)
async def test_it_is_told_once_each_time(looks: str, told: str) -> None:
    script: Iterator[str] = iter(looks)
    heard: list[str] = []

    async def look() -> bool:
        found = next(script, None)
        if found is None:
            raise ScriptEndedError
        return found == "+"

    async def gone() -> None:
        heard.append("-")

    async def back() -> None:
        heard.append("+")

    with pytest.raises(ScriptEndedError):
        await follow_readiness(look, gone, back, every_s=0)
    assert "".join(heard) == told
