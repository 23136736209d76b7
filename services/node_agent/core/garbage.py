"""Which images, and which logs of containers that are gone, nobody needs any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

_US_PER_S = 1_000_000
_NEVER_PERCENT = 100


@dataclass(frozen=True, slots=True)
class ImageRules:
    """When images are removed: kubelet's habit.

    Once `high_percent` of the disk is taken, images that were not needed for `unused_us` go, those
    longest unused first, until `low_percent` would be. 100 is never.
    """

    high_percent: int = 85
    low_percent: int = 80
    unused_us: int = 3600 * _US_PER_S


@dataclass(frozen=True, slots=True)
class DiskUse:
    """A disk in bytes."""

    total: int
    used: int

    @property
    def percent(self) -> float:
        """The share that is taken, 0 to 100."""
        return 100 * self.used / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """An image that this agent fetched: its size in bytes, and when it was last needed."""

    name: str
    size: int
    used_at_us: int


def is_full(disk: DiskUse, rules: ImageRules) -> bool:
    """Tell whether images are to be looked through."""
    return rules.high_percent < _NEVER_PERCENT and disk.percent >= rules.high_percent


def removable(
    images: Iterable[FetchedImage],
    needed: Collection[str],
    disk: DiskUse,
    rules: ImageRules,
    now_us: int,
) -> Iterator[FetchedImage]:
    """Yield what is to be removed of a disk that is full, longest unused first.

    What running or assigned replicas need never is. Sizes may share layers, so more may be left to
    be removed the next time.
    """
    to_free = disk.used - disk.total * rules.low_percent // 100
    for image in sorted(images, key=lambda each: (each.used_at_us, each.name)):
        if to_free <= 0:
            return
        if image.name not in needed and image.used_at_us <= now_us - rules.unused_us:
            to_free -= image.size
            yield image


@dataclass(frozen=True, slots=True)
class LogRules:
    """How much is kept of the logs of containers that are gone.

    Of each replica those of the last `containers`, in all at most `total_bytes`.
    """

    containers: int = 2
    total_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KeptLog:
    """What is kept of one container's log: its size in bytes, and since when."""

    replica_id: str
    restart_count: int
    size: int
    kept_at_us: int


def removable_logs(logs: Iterable[KeptLog], rules: LogRules) -> Iterator[KeptLog]:
    """Yield the logs that are too many for their replica, or too much; the oldest go first."""
    kept_bytes = 0
    of_replica: Counter[str] = Counter()
    for log in sorted(
        logs, key=lambda each: (each.kept_at_us, each.replica_id, each.restart_count), reverse=True
    ):
        of_replica[log.replica_id] += 1
        kept_bytes += log.size
        if of_replica[log.replica_id] > rules.containers or kept_bytes > rules.total_bytes:
            kept_bytes -= log.size
            yield log
