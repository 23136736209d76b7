"""How many replicas the checker finds room for on a node's GPU devices."""

from fogbank.checker.devices import copies_on_devices
from fogbank.checker.world import Node


def test_a_number_out_of_all_bounds_costs_no_list_of_that_length() -> None:
    node = Node("node", allocatable=(0, 0, 0, 1 << 40))

    assert copies_on_devices(node, 1_000, 1_000) == 256


def test_shares_leave_whole_devices_alone() -> None:
    node = Node("node", allocatable=(0, 0, 0, 2_000))

    assert copies_on_devices(node, 600, 5) == 2
    assert copies_on_devices(node, 500, 5) == 4
    assert copies_on_devices(node, 0, 5) == 5
