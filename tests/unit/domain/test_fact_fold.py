"""By which rules facts count, and what they leave behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.codec import UnknownEventError, decode_commit, encode_commit
from fogbank.domain import events as ev
from fogbank.domain.envelope import SCHEDULER, CommandTerms, Commit
from fogbank.domain.facts import KNOWN_EVENT_US, Observed
from fogbank.domain.fleet import FleetState
from fogbank.domain.folded import Folded
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.policy import Policy
from fogbank.domain.states import Health, NodeStatus, ReplicaState
from fogbank.domain.verdict import VoidReason
from fogbank.v1 import log_pb2
from tests.support.fleet_log import OWNER, START_US, LittleLog, a_fingerprint, a_spec, an_id

NODE = an_id("fog-1")
REPLICA = an_id("replica")


class Fold:
    """A log and the state that follows from it."""

    def __init__(self) -> None:
        self.log = LittleLog()
        self.fleet = FleetState()

    def take(self, commit: Commit) -> Folded:
        return self.fleet.fold(commit)

    def reason(self, event: ev.Event, event_id: str = "", version: int = 0) -> VoidReason | None:
        return self.take(self.log.fact(event, event_id, version)).verdicts[0].reason

    def deploy(self) -> str:
        deployment_id, commit = self.log.deploy(a_spec())
        assert self.take(commit).verdicts[0].accepted
        return deployment_id

    def connect(self) -> int:
        _, commit = self.log.connect("fog-1")
        self.take(commit)
        return self.fleet.facts.nodes[NODE].epoch

    def report(self, number: int, *seen: ReplicaObservation, epoch: int = 0) -> VoidReason | None:
        node = self.fleet.facts.nodes[NODE]
        return self.reason(ev.NodeReported(NODE, epoch or node.epoch, number, seen))

    def observed(self) -> Observed:
        return self.fleet.facts.observed[REPLICA, NODE]


@pytest.fixture
def fold() -> Fold:
    return Fold()


def seen(restarts: int, state: ReplicaState, *, final: bool = False) -> ReplicaObservation:
    return ReplicaObservation(REPLICA, restarts, state, "c1", START_US, final=final)


def test_a_deployment_is_known_by_the_id_of_its_create_event(fold: Fold) -> None:
    deployment_id = fold.deploy()
    fact = fold.fleet.facts.deployments[deployment_id]
    assert fact.version == fact.created_position == 1 << 16
    assert fact.created_at_us == START_US


def test_a_repeat_is_void_and_tells_the_first_verdict_and_content(fold: Fold) -> None:
    deployment_id = fold.deploy()
    again = ev.DeploymentCreated(a_spec(replicas=9), OWNER)
    verdict = fold.take(fold.log.fact(again, deployment_id)).verdicts[0]
    assert verdict.reason is VoidReason.DUPLICATE
    assert verdict.original is not None
    assert verdict.original.position == 1 << 16
    assert verdict.original.accepted
    assert verdict.content_digest == fold.log.commits[0].envelopes[0].command.content_digest  # type: ignore[union-attr]
    assert fold.fleet.facts.deployments[deployment_id].spec.replicas == 1


def test_the_repeat_of_a_void_command_stays_void(fold: Fold) -> None:
    scaled = ev.DeploymentScaled(an_id("nobody"), 2)
    assert fold.reason(scaled, an_id("x")) is VoidReason.UNKNOWN_DEPLOYMENT
    verdict = fold.take(fold.log.fact(scaled, an_id("x"))).verdicts[0]
    assert verdict.reason is VoidReason.DUPLICATE
    assert verdict.original is not None
    assert verdict.original.reason is VoidReason.UNKNOWN_DEPLOYMENT


@pytest.mark.parametrize(
    ("later_us", "reason"),
    [(KNOWN_EVENT_US, VoidReason.DUPLICATE), (KNOWN_EVENT_US + 1, None)],
)
def test_ids_are_known_for_24_hours_of_log_time(
    fold: Fold, later_us: int, reason: VoidReason | None
) -> None:
    deployment_id = fold.deploy()
    scaled = ev.DeploymentScaled(deployment_id, 2)
    assert fold.reason(scaled, an_id("x")) is None
    fold.log.now_us += later_us
    assert fold.reason(scaled, an_id("x")) is reason


def test_a_deployments_own_id_is_known_for_ever(fold: Fold) -> None:
    deployment_id = fold.deploy()
    fold.log.now_us += 30 * KNOWN_EVENT_US
    folded = fold.take(fold.log.fact(ev.DeploymentCreated(a_spec("new"), OWNER), deployment_id))
    assert folded.verdicts[0].reason is VoidReason.DUPLICATE
    assert folded.verdicts[0].content_digest
    assert fold.fleet.facts.deployments[deployment_id].spec.name == "web"


def test_a_command_counts_only_on_the_version_it_names(fold: Fold) -> None:
    deployment_id = fold.deploy()
    first = fold.fleet.facts.deployments[deployment_id].version
    assert fold.reason(ev.DeploymentScaled(deployment_id, 2), version=first) is None
    second = fold.fleet.facts.deployments[deployment_id].version
    assert second == 2 << 16
    stale = fold.reason(ev.DeploymentScaled(deployment_id, 3), version=first)
    assert stale is VoidReason.STALE_VERSION
    stale = fold.reason(ev.DeploymentDeleted(deployment_id), version=first)
    assert stale is VoidReason.STALE_VERSION
    assert fold.fleet.facts.deployments[deployment_id].version == second
    assert fold.reason(ev.DeploymentScaled(deployment_id, 3)) is None, "0 demands no version"


def test_a_deleted_deployment_takes_no_command(fold: Fold) -> None:
    deployment_id = fold.deploy()
    assert fold.reason(ev.DeploymentDeleted(deployment_id)) is None
    assert fold.fleet.facts.deployments[deployment_id].deleted
    assert fold.reason(ev.DeploymentScaled(deployment_id, 3)) is VoidReason.DELETED
    assert fold.reason(ev.DeploymentDeleted(deployment_id)) is VoidReason.DELETED


def test_organizations_and_clusters_are_numbered_by_the_fold(fold: Fold) -> None:
    assert fold.reason(ev.ClusterCreated("lost", 1)) is VoidReason.UNKNOWN_ORGANIZATION
    assert fold.reason(ev.OrganizationCreated("everybody")) is None
    assert fold.reason(ev.ClusterCreated("first", 1)) is None
    assert [*fold.fleet.facts.organizations] == [1]
    assert fold.fleet.facts.clusters[1].name == "first"


def test_several_events_of_a_commit_have_positions_of_their_own(fold: Fold) -> None:
    ids = [an_id("a"), an_id("b")]
    created = ev.DeploymentCreated(a_spec(), OWNER)
    folded = fold.take(
        fold.log.commit("gateway", *(fold.log.envelope(created, event_id) for event_id in ids))
    )
    assert [verdict.position for verdict in folded.verdicts] == [1 << 16, 1 << 16 | 1]
    assert fold.fleet.facts.deployments[ids[1]].version == 1 << 16 | 1


def test_each_handshake_is_a_new_epoch_and_voids_the_old(fold: Fold) -> None:
    first = fold.connect()
    second = fold.connect()
    assert (first, second) == (1 << 16, 2 << 16)
    smaller = a_fingerprint(cpu=1000)
    old_load = ev.NodeLoadChanged(NODE, first, 50, 50, 1)
    assert fold.reason(old_load) is VoidReason.OLD_EPOCH
    assert fold.reason(ev.NodeCapacityChanged(NODE, first, smaller)) is VoidReason.OLD_EPOCH
    assert fold.report(1, epoch=first) is VoidReason.OLD_EPOCH
    assert fold.reason(replace(old_load, epoch=second)) is None
    assert fold.reason(ev.NodeCapacityChanged(NODE, second, smaller)) is None
    node = fold.fleet.facts.nodes[NODE]
    assert (node.cpu_percent, node.fingerprint) == (50, smaller)


def test_what_an_unknown_node_says_is_void(fold: Fold) -> None:
    assert fold.reason(ev.NodeReported(NODE, 1, 1)) is VoidReason.UNKNOWN_NODE
    assert fold.reason(ev.NodeLoadChanged(NODE, 1, 1, 1, 1)) is VoidReason.UNKNOWN_NODE


def test_a_report_counts_only_as_the_next_one(fold: Fold) -> None:
    fold.connect()
    assert fold.report(2) is VoidReason.NOT_NEXT_REPORT
    assert fold.report(1) is None
    assert fold.report(1) is VoidReason.NOT_NEXT_REPORT
    assert fold.report(2) is None
    epoch = fold.connect()
    assert fold.fleet.facts.nodes[NODE].confirmed_epoch < epoch
    assert fold.report(1) is VoidReason.NOT_NEXT_REPORT
    assert fold.report(3) is None, "numbers go on across epochs"
    assert fold.fleet.facts.nodes[NODE].confirmed_epoch == epoch


def test_the_same_report_under_another_event_id_counts_once(fold: Fold) -> None:
    fold.connect()
    report = ev.NodeReported(NODE, 1 << 16, 1)
    assert fold.reason(report, an_id("a")) is None
    assert fold.reason(report, an_id("a")) is VoidReason.NOT_NEXT_REPORT


def test_observed_state_only_grows(fold: Fold) -> None:
    fold.connect()
    fold.report(1, seen(0, ReplicaState.RUNNING))
    fold.report(2, seen(0, ReplicaState.PREPARING))
    assert fold.observed().state is ReplicaState.RUNNING
    assert fold.fleet.facts.nodes[NODE].last_report == 2, "void content consumes its number"
    fold.report(3, seen(1, ReplicaState.STARTING))
    assert (fold.observed().restart_count, fold.observed().state) == (1, ReplicaState.STARTING)
    fold.report(4, seen(0, ReplicaState.FAILED))
    assert fold.observed().state is ReplicaState.STARTING


def test_final_is_final(fold: Fold) -> None:
    fold.connect()
    fold.report(1, seen(0, ReplicaState.FAILED, final=True))
    fold.log.pass_ms(5_000)
    fold.report(2, seen(1, ReplicaState.RUNNING))
    fold.report(3, seen(1, ReplicaState.COMPLETE, final=True))
    assert fold.observed().state is ReplicaState.FAILED
    assert fold.observed().ended_at_us == START_US


def test_since_when_something_is_said_of_a_replica_goes_by_the_log(fold: Fold) -> None:
    fold.connect()
    said = [
        (seen(0, ReplicaState.RUNNING), 0),
        (seen(0, ReplicaState.RUNNING), 0),
        (replace(seen(0, ReplicaState.RUNNING), health=Health.HEALTHY), 2_000),
        (seen(0, ReplicaState.RUNNING), 3_000),
        (seen(1, ReplicaState.RUNNING), 4_000),
    ]
    for number, (observation, since_ms) in enumerate(said, start=1):
        fold.report(number, replace(observation, observed_at_us=1))
        assert fold.observed().since_us == START_US + since_ms * 1_000
        fold.log.pass_ms(1_000)


def test_a_container_id_is_not_forgotten_by_a_report_without_one(fold: Fold) -> None:
    fold.connect()
    fold.report(1, seen(0, ReplicaState.RUNNING))
    fold.report(2, ReplicaObservation(REPLICA, 0, ReplicaState.STOPPED))
    assert fold.observed().container_id == "c1"
    assert fold.observed().started_at_us == START_US


def test_facts_count_only_from_gateways(fold: Fold) -> None:
    created = fold.log.envelope(ev.DeploymentCreated(a_spec(), OWNER), an_id("x"))
    for service in ("ledger", SCHEDULER):
        folded = fold.take(fold.log.commit(service, created, created))
        assert [verdict.reason for verdict in folded.verdicts] == [VoidReason.WRONG_WRITER] * 2
    assert not fold.fleet.facts.deployments
    assert fold.take(fold.log.commit("gateway", created)).verdicts[0].accepted


def test_a_commit_is_taken_in_once(fold: Fold) -> None:
    fold.connect()
    with pytest.raises(ValueError, match="folded already"):
        fold.take(fold.log.commits[0])


def test_log_time_is_a_running_maximum(fold: Fold) -> None:
    fold.deploy()
    fold.log.pass_ms(-60_000)
    second = fold.deploy()
    assert fold.fleet.facts.log_time_us == START_US
    assert fold.fleet.facts.deployments[second].created_at_us == START_US
    fold.log.pass_ms(90_000)
    folded = fold.take(fold.log.commit("ledger", fold.log.envelope(ev.DeploymentDeleted(second))))
    assert folded.log_time_us == START_US + 30_000_000, "void events move it too"


def _unknown(*, may_ignore: bool) -> bytes:
    envelope = log_pb2.EventEnvelope(
        event_id=an_id("u"), type="fogbank.v9.Unheard", may_ignore=may_ignore
    )
    return encode_commit(START_US, [envelope.SerializeToString()])


def test_an_event_of_an_unknown_type_stops_the_reader() -> None:
    with pytest.raises(UnknownEventError, match=r"fogbank\.v9\.Unheard"):
        decode_commit(1, "gateway", "one", _unknown(may_ignore=False))


def test_an_unknown_event_that_may_be_ignored_is(fold: Fold) -> None:
    folded = fold.take(decode_commit(1, "gateway", "one", _unknown(may_ignore=True)))
    assert folded.verdicts[0].reason is VoidReason.IGNORED


@pytest.mark.parametrize(
    ("event", "event_id"),
    [
        (ev.DeploymentCreated(a_spec(), OWNER), "no-uuid"),
        (ev.DeploymentCreated(a_spec(cpu=-1), OWNER), ""),
        (ev.DeploymentCreated(a_spec(memory=1 << 62), OWNER), ""),
        (ev.DeploymentCreated(a_spec(replicas=1 << 30), OWNER), ""),
        (ev.NodeConnected("no-uuid", "fog", a_fingerprint()), ""),
        (ev.NodeConnected(NODE, "fog", a_fingerprint(cpu=1 << 62)), ""),
        (ev.PolicyActivated(Policy(resource_weight=float("nan"))), ""),
        (ev.PolicyActivated(Policy(lost_after_ms=-1)), ""),
        (ev.PolicyActivated(Policy(strategy="no-such-thing")), ""),
    ],
)
def test_what_readers_could_not_bear_is_void(fold: Fold, event: ev.Event, event_id: str) -> None:
    assert fold.reason(event, event_id) is VoidReason.MALFORMED
    assert not fold.fleet.facts.deployments
    assert not fold.fleet.facts.nodes
    assert fold.fleet.facts.policy == Policy()


def test_only_a_node_that_stops_being_busy_makes_room_by_its_load(fold: Fold) -> None:
    epoch = fold.connect()
    loads = [(50, False), (95, False), (99, False), (90, True), (10, False)]
    for percent, appeared in loads:
        folded = fold.take(fold.log.fact(ev.NodeLoadChanged(NODE, epoch, percent, 1, 1)))
        assert folded.room_appeared is appeared, percent
    assert fold.fleet.node_status(fold.fleet.facts.nodes[NODE]) is NodeStatus.IDLE


def test_terms_travel_with_their_command(fold: Fold) -> None:
    fold.deploy()
    terms = fold.log.commits[0].envelopes[0].command
    assert isinstance(terms, CommandTerms)
    assert len(terms.content_digest) == 32
