"""Which images go when the disk is full, and which logs when there are too many."""

import pytest

from services.node_agent.core.garbage import (
    DiskUse,
    FetchedImage,
    ImageRules,
    KeptLog,
    LogRules,
    is_full,
    removable,
    removable_logs,
)

RULES = ImageRules(high_percent=85, low_percent=80, unused_us=1_000)
NOW_US = 10_000
FULL = DiskUse(1_000, 900)


def chosen(images: list[FetchedImage], *needed: str, disk: DiskUse = FULL) -> list[str]:
    return [each.name for each in removable(images, needed, disk, RULES, NOW_US)]


def test_the_longest_unused_go_first_until_there_is_room() -> None:
    images = [FetchedImage(name, 60, at_us) for name, at_us in (("c", 3), ("a", 1), ("b", 2))]
    assert chosen(images) == ["a", "b"]
    assert chosen(images, disk=DiskUse(1_000, 801)) == ["a"]
    assert chosen(images, disk=DiskUse(1_000, 800)) == []


def test_what_is_needed_or_was_lately_stays() -> None:
    images = [FetchedImage("needed", 900, 1), FetchedImage("lately", 900, 9_001)]
    assert chosen(images, "needed") == []
    assert chosen([*images, FetchedImage("old", 1, 9_000)], "needed") == ["old"]


@pytest.mark.parametrize(("used", "full"), [(849, False), (850, True), (1_000, True)])
def test_a_disk_is_full_from_the_high_mark_on(used: int, full: bool) -> None:
    assert is_full(DiskUse(1_000, used), RULES) is full
    assert not is_full(DiskUse(1_000, used), ImageRules(high_percent=100))
    assert not is_full(DiskUse(0, 0), RULES)


def test_of_each_replica_the_last_logs_stay() -> None:
    logs = [KeptLog(name, count, 10, count) for name in "ab" for count in range(4)]
    gone = removable_logs(logs, LogRules(containers=2, total_bytes=1_000))
    assert sorted((each.replica_id, each.restart_count) for each in gone) == [
        *(("a", 0), ("a", 1), ("b", 0), ("b", 1))
    ]


def test_logs_stay_within_their_room_the_newest_first() -> None:
    logs = [
        KeptLog(name, 0, size, at_us)
        for name, size, at_us in (("old", 30, 1), ("large", 90, 2), ("new", 50, 3))
    ]
    gone = removable_logs(logs, LogRules(containers=2, total_bytes=100))
    assert [each.replica_id for each in gone] == ["large"]
