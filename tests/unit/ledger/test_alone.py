"""A deployment folded from its own events alone is the one that the whole log leads to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.forgetting import KEPT_DELETED_US
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusChange
from fogbank.domain.views import DeploymentView
from services.ledger.adapters.past_views import shown_deployments
from services.ledger.app.standings import Standing
from services.ledger.core.alone import OwnEvents, Wanted
from services.ledger.core.touched import ThingKind, touch_rows
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec, an_id
from tests.support.mixed_story import tell

Touching = dict[tuple[int, str], list[tuple[Commit, list[int]]]]


def alone(touching: Touching, *deployment_ids: str) -> FleetState:
    """Return the state that a question about some deployments is answered from."""
    events, wanted = OwnEvents(), Wanted(frozenset(deployment_ids))
    for deployment_id in deployment_ids:
        events.add(touching[ThingKind.DEPLOYMENT, deployment_id])
    for node_id in events.nodes_of(deployment_ids):
        events.add(touching[ThingKind.STANDING, node_id])
    return events.state(wanted)


def shown(fleet: FleetState, *deployment_ids: str) -> list[DeploymentView]:
    standings = [
        Standing(id_, (StatusChange(id_, None, DeploymentStatus.PENDING, 1, "", 1),))
        for id_ in deployment_ids
    ]
    return shown_deployments(fleet, standings, lambda position: position, whole=True)


def assert_the_same_alone(commits: Iterable[Commit]) -> FleetState:
    """Assert it after every commit, and return the state at the end."""
    fleet = FleetState()
    touching: Touching = defaultdict(list)
    for commit in commits:
        folded = fleet.fold(commit)
        known = replace(commit, appended_at_us=fleet.facts.log_time_us)
        for row in touch_rows(fleet, commit, folded.verdicts):
            for index, counts in row.events:
                if counts:
                    touching[row.kind, row.id].append((known, [index]))
        for deployment_id in folded.deployments & fleet.facts.deployments.keys():
            own = alone(touching, deployment_id)
            wanted = fleet.facts.deployments[deployment_id]
            assert own.facts.deployments[deployment_id] == wanted, commit.sequence
            assert shown(own, deployment_id) == shown(fleet, deployment_id), commit.sequence
        if commit.sequence % 25 == 0:
            page = sorted(fleet.facts.deployments)[:: 1 + commit.sequence % 3]
            assert shown(alone(touching, *page), *page) == shown(fleet, *page), commit.sequence
    return fleet


def test_each_deployment_is_the_same_after_every_commit_that_changes_it() -> None:
    told = tell(31, events=400, nodes=6)
    assert {"deployments moved", "deployments updated", "nodes lost"} <= told.happened.keys()
    assert_the_same_alone(told.log.commits)


def test_one_that_was_forgotten_and_created_anew_is_the_new_one() -> None:
    fleet, again = LittleFleet(), an_id("again")
    fleet.connect("fog-1")
    for replicas in (2, 1):
        fleet.fold(fleet.log.deploy(a_spec(replicas=replicas), again)[1])
        fleet.settle()
        fleet.obey()
        fleet.fact(ev.DeploymentDeleted(again))
        fleet.settle()
        fleet.obey()
        fleet.log.pass_ms(KEPT_DELETED_US // 1_000)
        fleet.deploy(a_spec())
        fleet.settle()
    fleet.fold(fleet.log.deploy(a_spec(), again)[1])
    fleet.settle()
    fleet.obey()
    assert again in assert_the_same_alone(fleet.log.commits).facts.deployments
