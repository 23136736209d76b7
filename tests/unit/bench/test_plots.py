"""The benchmarks' plots: where values lie on an axis, and what is drawn."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.plots import VARIABLE, Axis, Curve, plot, write_if_wanted

_NODES = Axis("nodes & more", (1_000, 10_000, 100_000))
_PERCENT = Axis("GPUs, in %", (80, 90, 100))


def test_an_axis_is_logarithmic_where_its_ends_lie_far_apart() -> None:
    assert _NODES.share(10_000) == pytest.approx(0.5)
    assert _PERCENT.share(85) == 0.25
    assert (_PERCENT.share(10), _PERCENT.share(110)) == (0, 1)


def test_what_a_curve_is_compared_with_is_dashed() -> None:
    curve = Curve("fgd", [(1_000, 80), (100_000, 100)], [(1_000, 90)])
    drawn = ET.fromstring(plot(_NODES, _PERCENT, [curve], "published"))  # noqa: S314 (our own)
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert [line.get("points") for line in lines] == ["70.0,400.0 550.0,20.0", "70.0,210.0"]
    assert [line.get("stroke-dasharray") for line in lines] == [None, "4 3"]
    words = [each.text for each in drawn.findall("{http://www.w3.org/2000/svg}text")]
    assert {"fgd", "dashed: published", "100,000", "nodes & more; upwards: GPUs, in %"} <= {*words}


def test_nothing_is_written_unless_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    write_if_wanted("plot", _NODES, _PERCENT, [], "")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    write_if_wanted("plot", _NODES, _PERCENT, [], "")
    assert [each.name for each in tmp_path.iterdir()] == ["plot.svg"]
