"""GPU devices: whole asks take whole devices, a share packs on one; nobody gets what is taken."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint, DeploymentSpec
from fogbank.domain.gpus import MAX_GPUS, choose_devices, device_rooms, taken
from fogbank.domain.policy import MixedAsk, Policy
from fogbank.domain.resources import Resources
from fogbank.domain.states import ConstraintOperator
from fogbank.placement.arrays import amounts
from fogbank.placement.devices import devices_fit
from fogbank.placement.strategies import score
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec
from tests.support.laws import broken_laws


def wanting(thousandths: int, **more: object) -> DeploymentSpec:
    spec = a_spec(cpu=100, memory=10, storage=0, wait_for_capacity=True, **more)  # type: ignore[arg-type]
    return replace(spec, resources=Resources(100, 10, 0, thousandths))


def devices_of(fleet: LittleFleet, deployment_id: str) -> list[tuple[int, ...]]:
    decisions = fleet.planner.fleet.decisions
    slots = decisions.of(deployment_id).slots
    return [decisions.placements[slots[slot]].gpu_devices for slot in sorted(slots)]


def deploy(fleet: LittleFleet, thousandths: int, **more: object) -> str:
    deployment_id = fleet.deploy(wanting(thousandths, **more))
    fleet.settle()
    return deployment_id


@pytest.mark.parametrize(
    ("free", "ask", "devices"),
    [
        ([1000, 1000], 1000, (0,)),
        ([400, 1000], 1000, (1,)),
        ([400, 1000], 300, (0,)),
        ([400, 300, 1000], 300, (1,)),
        ([400, 400], 500, None),
        ([900, 1000, 1000], 2000, (1, 2)),
        ([900, 1000, 900], 2000, None),
        ([600, 1000, 1000], 1500, (1, 0)),
        ([400, 1000, 1000], 1500, (1, 2)),
        ([400, 1000, 400], 1500, None),
    ],
)
def test_which_devices_an_ask_takes(
    free: list[int], ask: int, devices: tuple[int, ...] | None
) -> None:
    assert choose_devices(free, free, ask) == devices


def test_devices_that_nobody_has_to_leave_first_are_taken_first() -> None:
    assert choose_devices([1000, 1000], [0, 1000], 1000) == (1,)
    assert choose_devices([500, 1000], [0, 1000], 500) == (1,)


def test_filter_and_choice_agree() -> None:
    chance = Random(5)
    for _ in range(500):
        count = chance.randrange(5)
        free = [chance.choice((0, 100, 500, 999, 1000)) for _ in range(count)]
        ask = chance.choice((100, 500, 1000, 1500, 2000, 2100))
        column = np.array(free, dtype=np.int64).reshape(count, 1)
        assert bool(devices_fit(column, ask)[0]) is (choose_devices(free, free, ask) is not None)


def test_what_is_taken_of_each_device() -> None:
    assert device_rooms(2500) == [1000, 1000, 500]
    assert list(taken((3, 1), 1500)) == [(3, 1000), (1, 500)]
    assert list(taken((), 0)) == []


def test_a_number_out_of_all_bounds_costs_no_list_of_that_length() -> None:
    assert len(device_rooms(1 << 40)) == MAX_GPUS
    fleet = LittleFleet()
    room = replace(a_fingerprint().allocatable, gpu_thousandths=1 << 40)
    fleet.connect("fog-0", replace(a_fingerprint(), capacity=room, allocatable=room))
    assert devices_of(fleet, deploy(fleet, 2000)) == [(0, 1)]
    assert devices_of(fleet, deploy(fleet, (MAX_GPUS + 1) * 1000)) == []
    assert broken_laws(fleet.log) == []


def test_shares_pack_on_one_device_and_whole_asks_take_the_other() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(gpu=2))
    first, second = deploy(fleet, 600), deploy(fleet, 400)
    whole, waiting = deploy(fleet, 1000), deploy(fleet, 100)
    assert devices_of(fleet, first) == devices_of(fleet, second) == [(0,)]
    assert devices_of(fleet, whole) == [(1,)]
    assert devices_of(fleet, waiting) == []


def test_room_in_pieces_is_no_room_and_is_said() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(gpu=2))
    for _ in range(2):
        deploy(fleet, 600)
    assert not fleet.planner.arrays.gpu_free.tolist()[0][0] - 400
    stuck = deploy(fleet, 700)
    decision = fleet.planner.fleet.decisions.of(stuck)
    assert decision.considered.refusals == (("gpu devices", 1),)
    assert decision.reason == "Insufficient nodes: need 1, found 0 with capacity"


def test_several_replicas_in_one_round_share_devices_without_crowding() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(gpu=2))
    stacked = deploy(fleet, 500, replicas=4, allow_colocation=True)
    assert sorted(devices_of(fleet, stacked)) == [(0,), (0,), (1,), (1,)]
    assert fleet.planner.arrays.gpu_free[:, 0].tolist() == [0, 0]
    too_many = deploy(fleet, 400, replicas=1)
    assert devices_of(fleet, too_many) == []


def test_who_leaves_a_device_is_awaited() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(gpu=1))
    first = deploy(fleet, 1000)
    fleet.obey()
    (leaving,) = fleet.planner.fleet.decisions.of(first).slots.values()
    fleet.fact(ev.DeploymentDeleted(first))
    fleet.settle()
    second = deploy(fleet, 300)
    (placed,) = fleet.planner.fleet.decisions.of(second).slots.values()
    assert fleet.planner.fleet.decisions.placements[placed].starts_after == (leaving,)


def test_a_device_comes_free_when_its_replica_has_ended() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(gpu=1))
    first = deploy(fleet, 1000)
    fleet.obey()
    waiting = deploy(fleet, 1000)
    assert devices_of(fleet, waiting) == []
    fleet.fact(ev.DeploymentDeleted(first))
    fleet.settle()
    fleet.obey()
    fleet.settle()
    assert devices_of(fleet, waiting) == [(0,)]
    assert fleet.planner.arrays.gpu_free[:, 0].tolist() == [0]


def points(fleet: LittleFleet, strategy: str, thousandths: int, policy: Policy) -> list[int]:
    arrays = fleet.planner.arrays
    spec = wanting(thousandths, strategy=strategy)
    found = score(arrays, arrays.booked, amounts(spec.resources), spec, policy)
    return [int(each) for each in found]


def test_gpu_packing_prefers_shared_then_used_then_idle() -> None:
    fleet = LittleFleet()
    for number in range(4):
        fleet.connect(f"fog-{number}", a_fingerprint(gpu=2))
    for node, thousandths in (("fog-0", 400), ("fog-1", 1000), ("fog-2", 800)):
        deploy(fleet, thousandths, constraints=_on(node))
    # fog-0 and fog-2 have a shared device with 600 and 200 left, fog-1 an idle one beside a whole
    # one that is taken, fog-3 is idle: 100 - 60/10, 50 - 1, 100 - 20/10, 33 - 2.
    assert points(fleet, "gpu-packing", 200, Policy()) == [94, 49, 98, 31]
    # A whole one takes idle devices: of used nodes 50 - 1, of an idle one 33 - 2.
    assert points(fleet, "gpu-packing", 1000, Policy()) == [49, 49, 49, 31]


def _on(node: str) -> object:
    return (Constraint("node", ConstraintOperator.EQUAL, (node,)),)


def test_fragmentation_descent_by_hand() -> None:
    policy = replace(Policy(), gpu_mix=(MixedAsk(0, 1000, 1), MixedAsk(0, 500, 1)))
    fleet = LittleFleet()
    for number in range(2):
        fleet.connect(f"fog-{number}", a_fingerprint(gpu=1))
    deploy(fleet, 400, constraints=_on("fog-0"))
    # fog-0 has 600 of a device left: the whole ask wastes 600, the half one nothing: 300 expected.
    # A share of 200 leaves 400, of use to neither: 400 expected, a loss of -0.1 GPUs: e^0.1 -> 47.
    # fog-1 is whole and wastes nothing; 800 are of no use to the whole ask: 400, -0.4 GPUs -> 40.
    assert points(fleet, "fgd", 200, policy) == [47, 40]
    # A share of 600 fills fog-0: 300 less, a gain -> 57; on fog-1 400 stay, of no use: -0.4 -> 40.
    assert points(fleet, "fgd", 600, policy) == [57, 40]


def test_without_a_mix_all_nodes_are_alike_to_fragmentation_descent() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(gpu=1))
    assert points(fleet, "fgd", 600, replace(Policy(), gpu_mix=())) == [0]
