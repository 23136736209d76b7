"""Volumes that hold more than was asked for: measured, and said of the replicas that have them."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fogbank.domain.containers import ContainerSpec, Volume
from fogbank.domain.states import Health, ReplicaState
from services.node_agent.adapters.volumes import taken_bytes
from services.node_agent.app.ports import RuntimeFaultError
from services.node_agent.app.volume_watch import VolumeWatch
from services.node_agent.core import stimuli as st
from services.node_agent.core.replica import Desired, ReplicaRecord
from services.node_agent.core.volumes import over_size
from tests.support.waiting import eventually
from tests.unit.node_agent.scenes import Scene, spec, to_run

GIB = 1 << 30
VOLUMES = (Volume("data", "/data", 1), Volume("logs", "/logs", 2))
DATA = "volume data holds 1.4 GiB of 1 GiB asked for"


@pytest.fixture
def scene() -> Scene:
    found = Scene()
    found.boot()
    found.connect()
    found.complete(to_run("a"))
    found.run("a")
    return found


def test_what_holds_too_much_is_named() -> None:
    assert not over_size(VOLUMES, {})
    assert not over_size(VOLUMES, {"data": GIB, "logs": 2 * GIB, "other": 9 * GIB})
    assert over_size(VOLUMES, {"data": 14 * GIB // 10}) == DATA
    assert over_size(VOLUMES, {"data": GIB + 1, "logs": 3 * GIB}) == (
        "volume data holds 1.1 GiB of 1 GiB asked for, volume logs holds 3.0 GiB of 2 GiB asked for"
    )


def test_a_running_replica_says_so_once_and_until_it_is_over(scene: Scene) -> None:
    before = len(scene.reports)
    for _ in range(3):
        scene.happen(st.Acknowledged(scene.reports[-1].number), st.VolumesMeasured("a", 0, DATA))
        scene.pass_s(2)
    assert len(scene.reports) == before + 1
    seen = scene.last_seen("a")
    assert (seen.state, seen.health) == (ReplicaState.RUNNING, Health.HEALTHY)
    assert seen.reason == f"over its size: {DATA}"
    scene.happen(st.Acknowledged(scene.reports[-1].number), st.VolumesMeasured("a", 0, ""))
    scene.pass_s(2)
    assert not scene.last_seen("a").reason


def test_it_stands_beside_what_the_probe_says(scene: Scene) -> None:
    def says(*stimuli: st.Stimulus) -> str:
        scene.happen(st.Acknowledged(scene.reports[-1].number), *stimuli)
        scene.pass_s(2)
        return scene.last_seen("a").reason

    assert says(st.VolumesMeasured("a", 0, DATA)) == f"over its size: {DATA}"
    broken = st.HealthSeen("a", 0, Health.UNHEALTHY, "status 500; really")
    assert says(broken) == f"status 500; really; over its size: {DATA}"
    assert says(st.VolumesMeasured("a", 0, "")) == "status 500; really"
    assert says(st.VolumesMeasured("a", 0, DATA)) == f"status 500; really; over its size: {DATA}"
    assert says(st.HealthSeen("a", 0, Health.HEALTHY)) == f"over its size: {DATA}"


def test_what_was_measured_of_another_start_counts_for_nothing(scene: Scene) -> None:
    before = len(scene.reports)
    scene.happen(st.VolumesMeasured("a", 1, DATA), st.VolumesMeasured("b", 0, DATA))
    scene.pass_s(2)
    assert len(scene.reports) == before


# --- measuring --------------------------------------------------------------------------------


def test_files_count_as_what_they_take(tmp_path: Path) -> None:
    empty = taken_bytes(str(tmp_path))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    file = tmp_path / "deep" / "er" / "file"
    with file.open("wb") as opened:
        opened.write(bytes(1 << 20))
        opened.flush()
        os.fsync(opened.fileno())
    taken = taken_bytes(str(tmp_path))
    assert 1 << 20 <= taken - empty < (1 << 20) + 64 * 1024
    (tmp_path / "again").hardlink_to(file)
    (tmp_path / "link").symlink_to("/usr")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(5 * GIB)
    assert taken_bytes(str(tmp_path)) - taken < 64 * 1024
    assert taken_bytes(str(tmp_path / "none")) == 0


def test_what_is_put_in_a_folders_place_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, elsewhere = tmp_path / "volume", tmp_path / "elsewhere"
    (volume / "deep").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(bytes(1 << 20))
    os.sync()
    opens = os.open

    def swapped(path: str, flags: int) -> int:
        if path.endswith("deep"):
            (volume / "deep").rmdir()
            (volume / "deep").symlink_to(elsewhere)
        return opens(path, flags)

    monkeypatch.setattr(os, "open", swapped)
    assert taken_bytes(str(volume)) < 64 * 1024
    monkeypatch.undo()
    (tmp_path / "link").symlink_to(volume)
    assert taken_bytes(str(tmp_path)) >= 1 << 20


def test_a_look_ends_however_many_files_there_are(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number)).write_bytes(bytes(4096))
    os.sync()
    assert taken_bytes(str(tmp_path), most_files=3) <= 3 * 4096 < taken_bytes(str(tmp_path))


class _Runtime:
    """Knows how much volumes hold; at first it gives no answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def volume_bytes(self, deployment_id: str, name: str) -> int:
        self.asked.append((deployment_id, name))
        if len(self.asked) == 1:
            raise RuntimeFaultError("away")
        return 14 * GIB // 10


async def test_each_volume_is_measured_once_for_all_that_run() -> None:
    runtime: Any = _Runtime()
    told: list[st.VolumesMeasured] = []
    wanted = replace(spec(), container=ContainerSpec(volumes=VOLUMES))
    records = {each: ReplicaRecord(each, Desired.RUN, wanted) for each in "abd"}
    for replica_id in "ab":
        record = records[replica_id]
        record.observed = record.seen(ReplicaState.RUNNING, 1)
    records["c"] = ReplicaRecord("c", Desired.RUN, spec())
    watch = asyncio.create_task(VolumeWatch(runtime, told.append).run(records.values, 0.01))
    await eventually(lambda: len(told) >= 2)
    watch.cancel()
    assert told[:2] == [st.VolumesMeasured(each, 0, DATA) for each in "ab"]
    assert runtime.asked[1:3] == [("d-1", "data"), ("d-1", "logs")]
