"""The rows that follow from a log."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from msgspec import structs

from fogbank.domain import events as ev
from fogbank.domain.deployment import RolloutSpec
from fogbank.domain.forgetting import KEPT_DELETED_US
from fogbank.domain.policy import Policy
from fogbank.domain.states import DeploymentStatus, Health, ReplicaState
from services.ledger.core.making import LAST_INSTANT_US, bounded, clean
from services.ledger.core.projection import Projection, TableChanges
from services.ledger.core.rows import (
    REPLICA_WORDS,
    STATUS_WORDS,
    DeploymentRow,
    DeploymentStateRow,
    NodeRow,
    NodeStateRow,
    ReplicaRow,
)
from services.ledger.core.touched import ThingKind
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import OWNER, START_US, a_fingerprint, a_spec, an_id
from tests.support.mixed_story import tell


class Rows:
    """A little fleet, and a projection that takes in its log when told."""

    def __init__(self, nodes: int = 0) -> None:
        self.fleet = LittleFleet()
        self.projection = Projection()
        self.nodes = [self.fleet.connect(f"fog-{number}") for number in range(nodes)]

    def take(self) -> TableChanges:
        for commit in self.fleet.log.commits[self.projection.position :]:
            self.projection.fold(commit)
        return self.projection.take()

    def run(self, replicas: int = 1, **more: object) -> str:
        deployment_id = self.fleet.deploy(a_spec(replicas=replicas, **more))  # type: ignore[arg-type]
        self.fleet.settle()
        self.fleet.obey()
        return deployment_id


def only(rows: list[DeploymentRow]) -> DeploymentRow:
    (row,) = rows
    return row


def replicas(taken: TableChanges) -> list[ReplicaRow]:
    """The replicas of all deployments whose rows are written, as they are now."""
    whole = [row for each in taken.deployments for row in each.replicas]
    return whole + [row for each in taken.deployment_states for row in each.replicas]


def nodes(taken: TableChanges) -> list[NodeRow | NodeStateRow]:
    return [*taken.nodes, *taken.node_states]


def words(taken: TableChanges) -> list[tuple[str, str, str]]:
    return [(change.old_status, change.new_status, change.reason) for change in taken.changes]


def test_a_batch_keeps_every_status_and_one_row() -> None:
    rows = Rows(nodes=3)
    deployment_id = rows.run(replicas=3)
    taken = rows.take()
    assert words(taken) == [
        ("none", "pending", "Deployment created by user"),
        ("pending", "scheduled", "Scheduled 3 replicas across nodes"),
        ("scheduled", "running", "All 3 replicas started successfully"),
    ]
    row = only(taken.deployments)
    assert (row.id, row.status, row.running_replicas, row.target_replicas) == (
        deployment_id,
        "running",
        3,
        3,
    )
    assert row.user_id == OWNER
    assert row.health == Health.HEALTHY
    assert row.reason == "All 3 replicas started successfully"
    assert row.created_at_us == START_US
    assert [(replica.slot, replica.status) for replica in row.replicas] == [
        (0, "running"),
        (1, "running"),
        (2, "running"),
    ]
    assert {replica.node_id for replica in row.replicas} == set(rows.nodes)
    assert row.replicas[0].container_id == f"stub-container-{row.replicas[0].id}"
    assert {node.status for node in taken.nodes} == {"active"}
    assert {use.replicas for use in taken.past.node_uses} == {1}


def test_after_a_rollback_a_row_has_the_image_that_runs_beside_the_one_asked_for() -> None:
    rows = Rows(nodes=3)
    deployment_id = rows.run(replicas=2)
    rows.take()
    rows.fleet.update(deployment_id, replace(a_spec(replicas=2), container_image="slow:1"))
    rows.fleet.settle()
    row = only(rows.take().deployments)
    assert (row.container_image, row.asked_image) == ("slow:1", None)
    rows.fleet.log.pass_ms(600_000)
    rows.fleet.settle()
    taken = rows.take()
    row = only(taken.deployments)
    assert row.id == deployment_id
    assert (row.container_image, row.asked_image) == ("nginx:1.24", "slow:1")
    assert row.reason == "All 2 replicas started successfully; rolled back from revision 2 to 1"
    why = "Rolled back from revision 2 to 1: A replica of revision 2 wasn't well in time"
    assert words(taken) == [("running", "running", why)]
    assert row.updated_at_us == taken.changes[0].changed_at_us == rows.fleet.log.now_us
    anew = Projection()
    for commit in rows.fleet.log.commits:
        anew.fold(commit)
    assert only(anew.take().deployments) == row
    rows.fleet.update(deployment_id, replace(a_spec(replicas=2), container_image="nginx:1.25"))
    row = only(rows.take().deployments)
    assert (row.container_image, row.asked_image) == ("nginx:1.25", None)


def test_what_did_not_change_is_not_written_again() -> None:
    rows = Rows(nodes=3)
    rows.run(replicas=2)
    assert rows.take().deployments
    assert rows.take() == TableChanges()
    rows.fleet.connect("fog-2")  # the same host again: a new epoch, and nothing else
    taken = rows.take()
    assert [node.node_id for node in taken.nodes] == ["fog-2"]
    # That it happened is in the node's record.
    kinds = {ThingKind.NODE, ThingKind.STANDING, ThingKind.NODE_NAME}
    assert {row.kind for row in taken.touches} == kinds
    taken.touches = []
    assert taken == TableChanges(nodes=taken.nodes, former_nodes=[taken.nodes[0].id])


def test_of_a_deployment_that_nobody_commanded_only_the_state_is_written() -> None:
    rows = Rows(nodes=3)
    deployment_id = rows.run(replicas=3)
    rows.take()
    fleet = rows.fleet.planner.fleet
    replica_id = fleet.decisions.of(deployment_id).slots[1]
    node_id = fleet.decisions.placements[replica_id].node_id
    rows.fleet.fold(
        rows.fleet.log.report(node_id, rows.fleet.log.seen(replica_id, ReplicaState.FAILED))
    )
    taken = rows.take()
    (row,) = taken.deployment_states
    assert taken.deployments == []
    assert [(each.id, each.status) for each in row.replicas if each.status != "running"] == [
        (replica_id, "failed")
    ]
    assert (row.id, row.status, row.exact_status) == (
        deployment_id,
        "running",
        DeploymentStatus.DEGRADED,
    )
    assert row.health == Health.UNHEALTHY
    assert row.running_replicas == 2
    assert words(taken) == [("running", "running", "2 of 3 replicas running")]


def test_waiting_replicas_have_rows_without_a_node() -> None:
    rows = Rows()
    rows.fleet.deploy(a_spec(replicas=2))
    taken = rows.take()
    assert [(row.slot, row.status, row.node_id, row.container_id) for row in replicas(taken)] == [
        (0, "pending", None, None),
        (1, "pending", None, None),
    ]
    assert only(taken.deployments).health == Health.UNKNOWN


def test_a_waiting_replica_keeps_its_row_when_it_is_placed() -> None:
    rows = Rows(nodes=1)
    rows.fleet.deploy(a_spec())
    (waiting,) = replicas(rows.take())
    rows.fleet.settle()
    placed = replicas(rows.take())
    assert [(row.id, row.node_id) for row in placed] == [(waiting.id, rows.nodes[0])]


def test_a_failed_deployment_loses_its_replicas_and_tells_the_room_there_was() -> None:
    rows = Rows(nodes=2)
    rows.fleet.deploy(a_spec(replicas=5))
    assert len(replicas(rows.take())) == 5
    for _ in range(4):
        rows.fleet.settle()
        rows.fleet.log.pass_ms(10_000)
    (row,) = rows.take().deployment_states
    assert (row.status, row.available_nodes) == ("failed", 2)
    assert row.reason == "Insufficient nodes: need 5, found 2 with capacity"
    assert row.replicas == ()
    assert rows.projection.replica_states.total() == 0


def test_a_deleted_deployment_keeps_its_last_replicas() -> None:
    rows = Rows(nodes=2)
    deployment_id = rows.run(replicas=2)
    rows.take()
    rows.fleet.log.pass_ms(5)
    rows.fleet.fact(ev.DeploymentDeleted(deployment_id))
    rows.fleet.settle()
    rows.fleet.obey()
    taken = rows.take()
    row = only(taken.deployments)
    assert (row.status, row.deleted_at_us) == ("deleted", START_US + 5_000)
    assert row.updated_at_us == START_US + 5_000
    assert [replica.status for replica in row.replicas] == ["stopped", "stopped"]
    assert {node.status for node in nodes(taken)} == {"idle"}
    assert {use.node_id: use.replicas for use in taken.past.node_uses} == dict.fromkeys(
        rows.nodes, 0
    )


def test_scaling_down_removes_rows_and_counts_as_an_update() -> None:
    rows = Rows(nodes=3)
    deployment_id = rows.run(replicas=3)
    rows.take()
    rows.fleet.log.pass_ms(7)
    rows.fleet.fact(ev.DeploymentScaled(deployment_id, 1))
    rows.fleet.settle()
    rows.fleet.obey()
    taken = rows.take()
    row = only(taken.deployments)
    assert (row.target_replicas, row.updated_at_us) == (1, START_US + 7_000)
    assert len(row.replicas) == 1
    assert rows.projection.replica_states["running"] == 1


def test_a_replacement_takes_the_slot_of_a_lost_replica() -> None:
    rows = Rows(nodes=2)
    deployment_id = rows.run(replicas=1)
    (before,) = replicas(rows.take())
    assert before.node_id is not None
    silence = rows.fleet.silence(before.node_id)
    rows.fleet.log.pass_ms(60_000)
    rows.fleet.decide(silence)
    for _ in range(5):
        rows.fleet.settle()
        rows.fleet.log.pass_ms(60_000)
    rows.fleet.obey()
    taken = rows.take()
    (state,) = taken.deployment_states
    (after,) = state.replicas
    assert (state.id, after.slot, after.generation) == (deployment_id, 0, 2)
    assert after.id != before.id
    statuses = {node.id: (node.status, node.reason) for node in nodes(taken)}
    assert statuses[before.node_id] == ("offline", "Not heard of for too long")
    assert rows.projection.node_statuses["offline"] == 1


def test_a_new_policy_looks_at_every_node_again() -> None:
    rows = Rows(nodes=2)
    node_id = rows.nodes[0]
    rows.fleet.fact(
        ev.NodeLoadChanged(node_id, rows.fleet.log.epochs[node_id], 70, 10, reflects_sequence=1)
    )
    assert {node.status for node in nodes(rows.take())} == {"idle"}
    rows.fleet.fact(ev.PolicyActivated(Policy(version=2, busy_load_percent=50)))
    (node,) = rows.take().node_states
    assert (node.id, node.status, node.cpu_usage_percent) == (node_id, "busy", 70.0)
    assert node.reason == "Measured load is over 50 %"
    assert rows.projection.node_statuses == {"idle": 1, "busy": 1}


def test_a_void_command_changes_nothing() -> None:
    rows = Rows(nodes=1)
    deployment_id = rows.run()
    rows.take()
    rows.fleet.fold(
        rows.fleet.log.fact(ev.DeploymentScaled(deployment_id, 9), expected_version=1 << 16)
    )
    taken = rows.take()
    assert [row.counts for row in taken.touches] == [False]
    taken.touches = []
    assert taken == TableChanges()


def test_a_row_says_nothing_of_what_its_author_left_as_it_is() -> None:
    rows = Rows()
    rows.fleet.deploy(a_spec())
    row = only(rows.take().deployments)
    assert (row.rollout, row.disconnect, row.container) == (None, None, None)
    rows.fleet.deploy(a_spec(rollout=RolloutSpec(max_surge=2)))
    row = only(rows.take().deployments)
    assert json.loads(row.rollout or "") == asdict(RolloutSpec(max_surge=2))
    assert (row.disconnect, row.container) == (None, None)


def test_a_node_shows_its_host() -> None:
    rows = Rows()
    rows.fleet.connect("gpu", a_fingerprint(gpu=2, labels={"rack": "7"}, region="us-west"))
    (node,) = rows.take().nodes
    assert (node.node_id, node.gpu_available, node.gpu_model) == ("gpu", True, "T4")
    assert (node.region, node.labels) == ("us-west", '{"rack": "7"}')
    assert node.allocatable_gpu_thousandths == 2_000


def test_texts_that_postgresql_cannot_hold_are_mended() -> None:
    rows = Rows()
    rows.fleet.deploy(replace(a_spec(name="we\0b"), labels={"a\0": "\0"}))
    row = only(rows.take().deployments)
    assert row.name == "we\N{REPLACEMENT CHARACTER}b"
    assert "\\u0000" not in row.labels
    assert clean("web") == "web"


def test_a_whole_row_ends_with_the_state() -> None:
    assert DeploymentRow.__struct_fields__[-8:] == DeploymentStateRow.__struct_fields__[1:]
    assert NodeRow.__struct_fields__[-5:] == NodeStateRow.__struct_fields__[1:]


@pytest.mark.parametrize(
    ("given", "kept"),
    [(-5, 0), (0, 0), (7, 7), (1 << 62, LAST_INSTANT_US)],
)
def test_instants_stay_within_what_a_timestamp_holds(given: int, kept: int) -> None:
    assert bounded(given) == kept


def test_every_state_has_a_public_word() -> None:
    assert set(STATUS_WORDS) == set(DeploymentStatus)
    assert set(REPLICA_WORDS) == set(ReplicaState)
    assert set(REPLICA_WORDS.values()) == {"pending", "starting", "running", "failed", "stopped"}


def test_batches_do_not_change_what_the_tables_say() -> None:
    rows = Rows(nodes=4)
    for number in range(6):
        rows.run(replicas=1 + number % 3, cpu=500)
    rows.fleet.fact(ev.DeploymentScaled(rows.fleet.changes[0].deployment_id, 4))
    rows.fleet.settle()
    rows.fleet.obey()
    whole = tables(rows.fleet, batch=10_000)
    assert tables(rows.fleet, batch=1) == whole
    assert tables(rows.fleet, batch=7) == whole


def test_what_the_fleet_forgets_keeps_its_last_row_however_the_log_is_cut() -> None:
    """Also where it is written, deleted and forgotten in one batch, and created anew then."""
    rows = Rows(nodes=2)
    fleet, log = rows.fleet, rows.fleet.log
    again = an_id("again")
    for _ in range(3):
        for deployment_id in (again, an_id(f"once {log.sequence}")):
            fleet.fold(log.deploy(a_spec(replicas=2), deployment_id)[1])
            fleet.settle()
            fleet.obey()
            fleet.fact(ev.DeploymentDeleted(deployment_id))
            fleet.settle()
            fleet.obey()
            log.pass_ms(KEPT_DELETED_US // 1_000)
    last = rows.run()
    assert set(fleet.planner.fleet.facts.deployments) == {last}
    whole = tables(fleet, batch=len(log.commits))
    assert tables(fleet, batch=1) == whole
    assert tables(fleet, batch=5) == whole
    deployments, *_, counts = whole
    assert isinstance(deployments, dict)
    assert sorted(row.status for row in deployments.values()) == ["deleted"] * 4 + ["running"]
    assert all(len(row.replicas) == 2 for key, row in deployments.items() if key != last)
    assert counts == {"running": 1}


def tables(fleet: LittleFleet, batch: int) -> tuple[object, ...]:
    """What the tables hold after the log was projected in batches of a size."""
    projection = Projection()
    deployments: dict[str, DeploymentRow] = {}
    nodes: dict[str, NodeRow] = {}
    history: list[object] = []
    commits = fleet.log.commits
    for start in range(0, len(commits), batch):
        for commit in commits[start : start + batch]:
            projection.fold(commit)
        taken = projection.take()
        assert len({row.id for row in taken.deployments}) == len(taken.deployments)
        assert {row.id for row in taken.nodes} & nodes.keys() == set(taken.former_nodes)
        deployments |= {row.id: row for row in taken.deployments}
        for deployment in taken.deployment_states:
            former = deployments[deployment.id]
            deployments[deployment.id] = structs.replace(former, **structs.asdict(deployment))
        nodes |= {row.id: row for row in taken.nodes}
        for node in taken.node_states:
            nodes[node.id] = structs.replace(nodes[node.id], **structs.asdict(node))
        history += taken.changes
    counted = {state: n for state, n in projection.replica_states.items() if n}
    known = projection.fleet.facts.deployments
    assert sum(counted.values()) == sum(len(deployments[each].replicas) for each in known)
    return deployments, nodes, history, counted


@pytest.mark.parametrize("seed", [1, 2])
def test_the_last_row_of_a_nodes_use_is_how_it_stands(seed: int) -> None:
    story = tell(seed, events=400)
    projection = Projection()
    last: dict[str, tuple[str, str, int]] = {}
    for commit in story.log.commits:
        projection.fold(commit)
        for row in projection.take().past.node_uses:
            last[row.node_id] = row.booked, row.held, row.replicas
    fleet = projection.fleet
    assert any(replicas for _, _, replicas in last.values())
    for node_id in fleet.facts.nodes:
        use = fleet.use(node_id)
        stands = (*(",".join(map(str, sums)) for sums in (use.booked, use.held)), len(use.replicas))
        assert last.get(node_id, ("0,0,0,0", "0,0,0,0", 0)) == stands
