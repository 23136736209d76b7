"""How `fog audit compare` tells what another policy would have done."""

from __future__ import annotations

import json

import pytest

from fogbank.cli import compare_command
from fogbank.cli.main import run
from fogbank.domain.comparison import ComparedPart, Difference, Fate
from fogbank.domain.rederived import Span

FOUND = ComparedPart(
    Span(1, 90),
    90,
    {"mean_nodes_used": 7.25, "replicas_placed": 1_200.0, "failures": 3.0},
    {"mean_nodes_used": 4.0, "replicas_placed": 1_200.0, "failures": 4.0},
    40,
    22,
    tuple(
        Difference(
            f"id-{n}", f"app-{n}", Fate("placed", ("fog-1",), 2), Fate("waiting", waited_ms=5)
        )
        for n in range(22)
    ),
)


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_command, "_compared", lambda *_asked: FOUND)


def test_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "compare", "--policy", "binpack"]) == 0
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert told[:4] == [
        "FIGURE ACTUAL ALTERNATIVE CHANGE",
        "replicas placed 1,200 1,200 =",
        "failures 3 4 +1",
        "mean nodes used 7.25 4 -3.25",
    ]
    assert "commits 1 to 90: 22 of 40 deployments fared differently" in told
    assert "app-0 placed on fog-1, evicted 2 times waiting" in told
    assert told[-1].startswith("... and 2 more")


def test_as_json_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "compare", "--policy", "binpack", "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["figures"]["failures"] == {"actual": 3.0, "alternative": 4.0}
    assert data["differences"][0]["alternative"]["standing"] == "waiting"
    assert run(["audit", "compare", "--policy", "binpack", "-o", "name"]) == 0
    assert len(capsys.readouterr().out.split()) == 22


def test_it_wants_one_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "compare"]) == 64
    assert run(["audit", "compare", "--policy", "spread", "-f", "mine.yaml"]) == 64
    assert "either a known policy's name" in capsys.readouterr().err
