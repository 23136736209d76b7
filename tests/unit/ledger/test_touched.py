"""What events touch: whose records they stand in."""

from fogbank.domain import events as ev
from fogbank.domain.fleet import FleetState
from fogbank.domain.position import pack
from services.ledger.core.touched import ThingKind, numbered, touch_rows
from tests.support.fleet_log import LittleLog, a_spec

OWNERS = (ThingKind.CLUSTER, ThingKind.ORGANIZATION)


def test_a_move_stands_in_the_records_of_both_clusters_and_what_follows_in_the_new_ones() -> None:
    log, fleet = LittleLog(), FleetState()
    for event in (
        ev.OrganizationCreated("one"),
        ev.OrganizationCreated("two"),
        ev.ClusterCreated("here", 1),
        ev.ClusterCreated("there", 2),
    ):
        fleet.fold(log.fact(event))
    known, created = log.deploy(a_spec())
    fleet.fold(created)
    touched = []
    for spec in (a_spec(cluster_id=2), a_spec(cluster_id=2, priority=70)):
        commit = log.fact(ev.DeploymentUpdated(known, spec))
        rows = touch_rows(fleet, commit, fleet.fold(commit).verdicts)
        touched.append({(row.kind, row.id) for row in rows if row.kind in OWNERS})
    here, there = ({(kind, numbered(number)) for kind in OWNERS} for number in (1, 2))
    assert touched == [here | there, there]


def test_a_commit_stands_once_in_the_record_of_a_thing_with_all_its_events() -> None:
    log, fleet = LittleLog(), FleetState()
    commit = log.scale_at_once("web", "api")
    rows = touch_rows(fleet, commit, fleet.fold(commit).verdicts)
    found = {(row.kind, row.id): row for row in rows}
    assert len(found) == len(rows) == 3
    web, api = (
        found[ThingKind.DEPLOYMENT, envelope.event_id] for envelope in commit.envelopes[::3]
    )
    assert (web.position, web.counts, web.more) == (pack(1, 0), True, [-1, 2])
    assert web.events == [(0, True), (1, False), (2, True)]
    assert (api.position, api.counts, api.more) == (pack(1, 3), True, [-4, 5])
    (owner,) = (row for row in rows if row.kind is ThingKind.USER)
    assert owner.events == [(0, True), (3, True)]
