"""Strategies for fleets with GPUs: packing devices, and keeping them from falling to pieces.

After Weng et al., 'Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
Gradient Descent' (USENIX ATC 2023). All amounts are integers, so is all arithmetic up to the score.
"""

from __future__ import annotations

import numpy as np

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.gpus import WHOLE, whole_and_share
from fogbank.domain.policy import MixedAsk, Policy
from fogbank.placement.arrays import CPU, GPU, Floats, Integers, Mask
from fogbank.placement.strategies.rows import Rows

_PERCENT = 100.0
_USED, _WAKING = 50, 33
# Of the loss of fragmentation in millionths of a GPU: from which on a score is 1, 2, ... 99, where
# a score of s is s/100 = 1 / (1 + e^-loss), rounded up to whole millionths.
# fmt: off
_STEPS = np.array((
    -4595119, -3891820, -3476098, -3178053, -2944438, -2751535, -2586689, -2442347, -2313634,
    -2197224, -2090741, -1992430, -1900958, -1815289, -1734601, -1658228, -1585627, -1516347,
    -1450010, -1386294, -1324925, -1265666, -1208311, -1152679, -1098612, -1045968, -994622,
    -944461, -895384, -847297, -800119, -753771, -708185, -663294, -619039, -575364, -532216,
    -489548, -447312, -405465, -363965, -322773, -281851, -241162, -200670, -160342, -120144,
    -80042, -40005, 0, 40006, 80043, 120145, 160343, 200671, 241163, 281852, 322774, 363966,
    405466, 447313, 489549, 532217, 575365, 619040, 663295, 708186, 753772, 800120, 847298, 895385,
    944462, 994623, 1045969, 1098613, 1152680, 1208312, 1265667, 1324926, 1386295, 1450011,
    1516348, 1585628, 1658229, 1734602, 1815290, 1900959, 1992431, 2090742, 2197225, 2313635,
    2442348, 2586690, 2751536, 2944439, 3178054, 3476099, 3891821, 4595120,
), dtype=np.int64)
# fmt: on


def gpu_packing(
    rows: Rows, ask: Integers, _spec: DeploymentSpec, _policy: Policy
) -> dict[str, Floats]:
    """Prefer devices that are shared already, then idle devices of used nodes, then idle nodes.

    Of shared ones that with least room; of idle ones where fewest are taken or stand idle.
    """
    whole, share = whole_and_share(int(ask[GPU, 0]))
    if not whole and not share:
        return {"packing": np.zeros(rows.count, dtype=np.float64)}
    free = rows.gpu_free
    devices = -(-rows.allocatable[GPU] // WHOLE)
    untouched = np.count_nonzero(free == WHOLE, axis=0)
    tightest = _tightest(free, share)
    on_shared = np.full(rows.count, bool(share) and not whole) & (tightest < WHOLE)
    on_idle = whole + (tightest == WHOLE) * (share > 0)
    points = np.where(
        untouched == devices,
        np.maximum(_WAKING - untouched, untouched),
        np.where(
            on_shared,
            np.maximum(100 - tightest * 100 // WHOLE // 10, _USED),
            np.maximum(_USED - on_idle, _WAKING),
        ),
    )
    return {"packing": np.minimum(points, 100) / _PERCENT}


def _tightest(free: Integers, share: int) -> Integers:
    """Return the least room of a device that a share fits on; above a whole one where none."""
    if not free.shape[0]:
        return np.full(free.shape[1], WHOLE + 1, dtype=np.int64)
    tightest: Integers = np.where(free >= share, free, WHOLE + 1).min(axis=0)
    return tightest


def fgd(rows: Rows, ask: Integers, _spec: DeploymentSpec, policy: Policy) -> dict[str, Floats]:
    """Place where the fragmentation that the policy's mix of asks would meet grows least.

    A node's fragmentation is the room of its GPUs that an ask drawn from the mix could not use: all
    of it where the ask does not fit (or wants no GPU), else that of the devices too full for it.
    """
    if not policy.gpu_mix:
        return {"fragmentation": np.zeros(rows.count, dtype=np.float64)}
    mix = _Mix(policy.gpu_mix)
    gpu = int(ask[GPU, 0])
    whole, share = whole_and_share(gpu)
    # A fleet without devices is one whose devices have no room: that there were some before is not
    # to be told from scores, since who begins with a snapshot doesn't know.
    free = rows.gpu_free if rows.gpu_free.shape[0] else np.zeros((1, rows.count), dtype=np.int64)
    cpu = rows.allocatable[CPU] - rows.booked[CPU]
    sizes = mix.sizes[:, None, None]
    fits = free >= sizes
    fitting = np.count_nonzero(fits, axis=1)
    pieces = np.where(fits, 0, free).sum(axis=1)
    before = mix.fragmentation(cpu, free.sum(axis=0), fitting, pieces)
    # Whole devices are untouched ones: whatever fits on a device fits there before, not after.
    fitting = fitting - whole
    if share:
        tight = _tightest(free, share)
        left = tight - share
        sizes = mix.sizes[:, None]
        fitting = fitting - (tight >= sizes) + (left >= sizes)
        pieces = pieces - np.where(tight < sizes, tight, 0) + np.where(left < sizes, left, 0)
    total = free.sum(axis=0) - gpu
    after = mix.fragmentation(cpu - ask[CPU], total, fitting, pieces)
    # Thousandths of a GPU times millionths of the mix: a thousand of them make a millionth.
    loss = (before - after) // WHOLE
    return {"fragmentation": np.searchsorted(_STEPS, loss, side="right") / _PERCENT}


class _Mix:
    """A mix of asks as columns; weights in millionths of the whole."""

    def __init__(self, asks: tuple[MixedAsk, ...]) -> None:
        total = sum(ask.weight for ask in asks)
        # One device's part of an ask, and how many devices it wants.
        per_device = [min(ask.gpu_thousandths, WHOLE) for ask in asks]
        self._count = np.array(
            [max(ask.gpu_thousandths // WHOLE, 1) for ask in asks], dtype=np.int64
        )[:, None]
        self._cpu = np.array([ask.cpu_millicores for ask in asks], dtype=np.int64)[:, None]
        weights = [ask.weight * 1_000_000 // max(total, 1) for ask in asks]
        self._weight = np.array(weights, dtype=np.int64)[:, None]
        self._wants_gpu: Mask = np.array([size > 0 for size in per_device])[:, None]
        sizes = sorted(set(per_device))
        self.sizes = np.array(sizes, dtype=np.int64)
        self._size_of = np.array([sizes.index(size) for size in per_device], dtype=np.int64)

    def fragmentation(
        self, cpu: Integers, total: Integers, fitting: Integers, pieces: Integers
    ) -> Integers:
        """Return the room on GPUs that the mix could not use, in thousandths times millionths.

        `fitting` devices and room in `pieces` are by size of an ask's part, and node.
        """
        usable = self._wants_gpu & (cpu >= self._cpu) & (fitting[self._size_of] >= self._count)
        wasted: Integers = np.where(usable, pieces[self._size_of], total) * self._weight
        summed: Integers = wasted.sum(axis=0)
        return summed
