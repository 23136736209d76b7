"""The log as bytes, and the chain of rounds: each test plants one violation."""

from fogbank.checker import LogCommit, check_log
from fogbank.v1 import facts_pb2, log_pb2
from tests.unit.checker.building import RUNNING, Bytes, a_replica, on, seen


def a_life() -> Bytes:
    """A clean log: two nodes, one deployment placed, running, scaled, and another deleted."""
    log = Bytes()
    first, second = log.node("first"), log.node("second")
    web = log.deploy("web", 1)
    log.place(web, first)
    log.report(first, seen(a_replica(web), RUNNING))
    log.scale(web, 2)
    log.round(log.placing(web, on(web, second, 1)))
    log.report(second, seen(a_replica(web, 1), RUNNING))
    gone = log.deploy("gone")
    log.delete(gone)
    return log


def renumbered(commits: list[LogCommit]) -> list[LogCommit]:
    return [commit._replace(sequence=number) for number, commit in enumerate(commits, start=1)]


def rules_of(commits: list[LogCommit]) -> list[str]:
    return [violation.rule.value for violation in check_log(commits).violations]


def test_a_clean_log_passes_and_is_counted() -> None:
    report = a_life().check(settled=True)
    assert report.clean, report.violations
    assert report.counts.rounds_accepted == 2
    assert report.counts.placements == 2
    assert report.counts.nodes == 2
    assert report.counts.reports == 2
    assert report.counts.deployments == {"running": 1, "deleted": 1}
    assert report.counts.max_booked_percent == 25.0


def test_an_empty_log_is_clean() -> None:
    assert check_log([], settled=True).clean


def test_a_log_that_continues_another_begins_later() -> None:
    commits = [LogCommit(commit.sequence + 7, *commit[1:]) for commit in Bytes().commits]
    log = Bytes()
    log.node("first")
    commits = [log.commits[0]._replace(sequence=8)]
    assert rules_of(commits) == ["sequence"]
    assert check_log(commits, first_sequence=8).clean


def test_a_missing_commit_is_found() -> None:
    commits = a_life().commits
    for missing in range(len(commits) - 1):
        assert "sequence" in rules_of(commits[:missing] + commits[missing + 1 :])


def test_a_missing_commit_is_found_under_new_numbers_too() -> None:
    """Save the last commits, whose loss nothing in the log can tell: that is what acknowledged
    commands and the ledger's copy are for."""
    commits = a_life().commits
    for missing in range(len(commits) - 3):
        assert rules_of(renumbered(commits[:missing] + commits[missing + 1 :])), missing


def test_two_swapped_commits_are_found() -> None:
    commits = a_life().commits
    for first in range(len(commits) - 1):
        swapped = [*commits]
        swapped[first : first + 2] = reversed(swapped[first : first + 2])
        assert "sequence" in rules_of(swapped)


def test_a_replayed_round_is_counted_and_books_nothing() -> None:
    log = a_life()
    replayed = next(commit for commit in log.commits if commit.service == "scheduler")
    log.append("scheduler", replayed.data)
    report = log.check(settled=True)
    assert report.clean, report.violations
    assert report.counts.rounds_repeated == report.counts.rounds_void == 1
    assert report.counts.placements == 2


def test_a_round_replayed_so_that_it_counts_is_found() -> None:
    log = Bytes()
    node = log.node("first")
    web = log.deploy("web")
    log.place(web, node)
    log.place(web, node)
    assert set(log.rules()) == {"slot-taken", "generation", "replica-id"}


def test_a_rival_round_is_void_and_books_nothing() -> None:
    log = Bytes()
    node, web = log.node("first", cpu=1000), log.deploy("web")
    before = log.prev
    log.place(web, node)
    log.commit(
        "scheduler", log.envelope(log.decided(log.placing(web, on(web, node)), prev_digest=before))
    )
    report = log.check()
    assert report.clean
    assert (report.counts.rounds_accepted, report.counts.rounds_void) == (1, 1)
    assert report.counts.placements == 1


def test_bytes_that_are_no_commit() -> None:
    log = Bytes()
    log.append("gateway", b"\xff\xff\xff")
    assert log.rules() == ["undecodable"]


def test_a_commit_without_events() -> None:
    log = Bytes()
    log.commit("gateway")
    assert log.rules() == ["empty-commit"]


def test_a_commit_that_is_too_large() -> None:
    log = Bytes()
    log.deploy("x" * 530_000)
    assert log.rules() == ["size"]


def test_a_payload_that_is_not_what_its_type_says() -> None:
    log = Bytes()
    kind = facts_pb2.DeploymentDeleted.DESCRIPTOR.full_name
    log.commit("gateway", log_pb2.EventEnvelope(event_id="x", type=kind, payload=b"\xff"))
    assert log.rules() == ["undecodable"]


def test_an_unknown_event_unless_it_may_be_ignored() -> None:
    log = Bytes()
    log.commit("gateway", log_pb2.EventEnvelope(event_id="x", type="y.Z", may_ignore=True))
    assert log.rules() == []
    log.commit("gateway", log_pb2.EventEnvelope(event_id="x", type="y.Z"))
    assert log.rules() == ["unknown-event"]


def test_a_stranger_may_not_write() -> None:
    log = Bytes()
    log.commit("ledger", log.envelope(facts_pb2.OrganizationCreated(name="all")))
    assert log.rules() == ["writer"]


def test_a_scheduler_writes_no_fact_and_a_gateway_no_round() -> None:
    log = Bytes()
    log.commit("scheduler", log.envelope(facts_pb2.OrganizationCreated(name="all")))
    log.commit("gateway", log.envelope(log.decided()))
    assert log.rules() == ["writer", "writer"]


def test_a_round_is_alone_in_its_commit() -> None:
    log = Bytes()
    one = log.envelope(log.decided())
    log.commit("scheduler", one, one)
    report = log.check()
    assert [violation.rule for violation in report.violations] == ["round-alone"]
    assert report.counts.rounds_accepted == 0


def test_a_round_follows_an_accepted_one() -> None:
    log = Bytes()
    log.node("first")
    log.round(prev_digest=bytes([1]) * 32)
    assert log.rules() == ["round-prev"]


def test_the_instant_never_falls() -> None:
    log = Bytes()
    log.round()
    log.round(instant_us=log.now_us - 1)
    assert log.rules() == ["round-instant"]


def test_facts_reach_from_the_last_round_to_before_the_round() -> None:
    log = Bytes()
    log.node("first")
    log.round()
    log.commit("scheduler", log.envelope(log.decided(facts_to=1)))
    log.commit("scheduler", log.envelope(log.decided(facts_to=log.last + 1)))
    assert log.rules() == ["round-facts", "round-facts"]


def test_a_round_names_the_policy_of_its_input() -> None:
    log = Bytes()
    event = facts_pb2.PolicyActivated()
    event.policy.name, event.policy.version = "packed", 3
    event.policy.strategy = "binpack"
    log.fact(event)
    log.round(policy="packed@1")
    assert log.rules() == []
    log.round(policy="balanced@1")
    assert log.rules() == ["round-policy"]


def test_only_the_first_violations_are_kept_but_all_are_counted() -> None:
    log = Bytes()
    for _ in range(1_005):
        log.append("gateway", b"\xff")
    report = log.check()
    assert (len(report.violations), report.violations_total) == (1_000, 1_005)
