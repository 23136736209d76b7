"""Moves of rebalances, as the checker reads them."""

from __future__ import annotations

import pytest

from fogbank.v1 import facts_pb2, rounds_pb2
from tests.unit.checker.building import Bytes, a_replica, on, releasing, seen

TERMS = {"budget": 2, "min_gain": 10, "at_once": 1}


class Fleet:
    """Two deployments that run on one node, and another node; a rebalance is asked for."""

    def __init__(self, **terms: int) -> None:
        self.log = Bytes()
        self.first, self.second = self.log.node("first"), self.log.node("second")
        self.web, self.api = self.log.deploy("web"), self.log.deploy("api")
        self.log.place(self.web, self.first)
        self.log.place(self.api, self.first)
        self.log.report(self.first, seen(a_replica(self.web)), seen(a_replica(self.api)))
        self.request = self.ask(**terms)

    def ask(self, **terms: int) -> int:
        return self.log.fact(facts_pb2.RebalanceRequested(**(TERMS | terms)))

    def move(
        self, deployment_id: str, *, to: str = "", gain: int = 20, request: int = 0
    ) -> rounds_pb2.Outcome:
        placement = on(deployment_id, to or self.second, generation=2)
        placement.replaces = a_replica(deployment_id)
        request = request or self.request
        return self.log.placing(deployment_id, placement, rebalance=request, gain=gain)

    def ended(self, request: int = 0) -> rounds_pb2.Outcome:
        ended = rounds_pb2.RebalanceEnded(request=request or self.request)
        return rounds_pb2.Outcome(rebalance_ended=ended)

    def over(self, deployment_id: str) -> None:
        """Let a successor run and its predecessor go."""
        self.log.report(self.second, seen(a_replica(deployment_id, generation=2)))
        self.log.round(releasing(deployment_id, a_replica(deployment_id)))


def test_one_move_after_the_other_and_an_end() -> None:
    fleet = Fleet()
    fleet.log.round(fleet.move(fleet.web))
    fleet.over(fleet.web)
    fleet.log.round(fleet.move(fleet.api))
    fleet.over(fleet.api)
    fleet.log.round(fleet.ended())
    assert fleet.log.rules() == []


def test_too_many_at_a_time() -> None:
    fleet = Fleet()
    fleet.log.round(fleet.move(fleet.web), fleet.move(fleet.api))
    assert fleet.log.rules() == ["rebalanced"]


def test_more_than_the_budget() -> None:
    fleet = Fleet(budget=1, at_once=5)
    fleet.log.round(fleet.move(fleet.web), fleet.move(fleet.api))
    assert fleet.log.rules() == ["rebalanced"]


def test_a_gain_too_small() -> None:
    fleet = Fleet()
    fleet.log.round(fleet.move(fleet.web, gain=9))
    assert fleet.log.rules() == ["rebalanced"]


def test_for_a_request_that_never_was_or_was_taken_back() -> None:
    fleet = Fleet()
    fleet.log.round(fleet.move(fleet.web, request=77))
    assert fleet.log.rules() == ["rebalanced"]
    fleet = Fleet()
    fleet.ask(budget=0)
    fleet.log.round(fleet.move(fleet.web))
    assert fleet.log.rules() == ["rebalanced"]


def test_nothing_moves_after_the_end_and_nothing_ends_twice() -> None:
    fleet = Fleet()
    fleet.log.round(fleet.ended())
    fleet.log.round(fleet.move(fleet.web))
    fleet.log.round(fleet.ended())
    assert fleet.log.rules() == ["rebalanced", "rebalanced"]


def test_only_what_runs_moves_and_to_another_node() -> None:
    fleet = Fleet()
    late = fleet.log.deploy("late")
    fleet.log.place(late, fleet.first)
    fleet.log.round(fleet.move(late))
    assert fleet.log.rules() == ["rebalanced"]
    fleet = Fleet()
    fleet.log.round(fleet.move(fleet.web, to=fleet.first))
    assert fleet.log.rules() == ["rebalanced"]


@pytest.mark.parametrize("terms", [{"budget": -1}, {"min_gain": 0}, {"at_once": 0}])
def test_terms_that_make_no_sense(terms: dict[str, int]) -> None:
    assert Fleet(**terms).log.rules() == ["out-of-bounds"]
