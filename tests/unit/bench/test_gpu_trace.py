"""The replay of a GPU trace, on a few invented rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bench import gpu_trace

NODES = """sn,cpu_milli,memory_mib,gpu,model
n0,8000,16384,1,T4
n1,8000,16384,2,T4
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos
p0,1000,1024,1,600,,LS
p1,1000,1024,2,1000,,LS
p2,1000,1024,0,,,BE
p3,9000,1024,1,1000,,LS
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / gpu_trace.FOLDER
    made.mkdir()
    (made / "openb_node_list_gpu_node.csv").write_text(NODES)
    (made / "openb_pod_list_default.csv.gz").write_bytes(gzip.compress(PODS.encode()))
    (made / "order_default.txt.gz").write_bytes(gzip.compress(b"7 0 1 2 3\nperm7 1 0\n"))
    header = ",".join(["workload", "sc_policy", *map(str, range(131))])
    row = ",".join(["openb_pod_list_default", "06-FGD", *["50"] * 131])
    table = f"{header}\n{row}\n".encode()
    (made / "published_alloc_by_arrival.csv.gz").write_bytes(gzip.compress(table))
    return made


def test_rows_become_nodes_pods_and_orders(folder: Path) -> None:
    trace = gpu_trace.read_trace(folder)
    assert trace.gpu_thousandths == 3000
    assert [pod.gpu_thousandths for pod in trace.pods] == [600, 2000, 0, 1000]
    assert (trace.arrivals, trace.host_orders) == ({7: (0, 1, 2, 3)}, {7: (1, 0)})


def test_the_replay_tells_what_is_allocated_as_pods_arrive(folder: Path) -> None:
    trace = gpu_trace.read_trace(folder)
    # The share goes beside nobody: onto the node with one GPU, so that the pair finds its two.
    fgd = gpu_trace.replay(trace, 7, "fgd")
    assert fgd[20] == 20.0
    assert fgd[86] == pytest.approx(260 / 3)
    # The first node in order is the larger one: there the share breaks the pair's room.
    first_fit = gpu_trace.replay(trace, 7, "first-fit")
    assert first_fit[86] == 20.0
    assert len(fgd) == len(first_fit) == gpu_trace.OVERFULL + 1


def test_figures_stand_beside_the_published_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOG_BENCH_PLOTS", str(folder))
    gpu_trace.measure(folder, ["fgd"], seeds=1, workers=1)
    shown = capsys.readouterr().out
    assert "fgd" in shown
    assert "50.00" in shown
    assert (folder / "gpu-trace.svg").read_text().count("<polyline") == 2


def test_without_the_data_it_says_so_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(gpu_trace.VARIABLE, raising=False)
    gpu_trace.main([])
    assert gpu_trace.VARIABLE in capsys.readouterr().out
