"""What commands on a deployment changed, as `fog audit log` tells it."""

from dataclasses import replace

from fogbank.cli.record_changes import Changes
from fogbank.cli.record_lines import lines
from fogbank.codec.registry import BY_DOMAIN
from fogbank.domain import events as ev
from fogbank.v1.log_pb2 import CommandTerms, EventEnvelope
from tests.support.fleet_log import a_spec

WEB = replace(a_spec("web"), container_image="nginx:1")
ID = "d1"


class Record:
    """The record of a deployment, an event a position."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.position = 0

    def tell(
        self, event: object, expected: int = 0, event_id: str = "", *, void: bool = False
    ) -> str:
        self.position += 1
        kind = BY_DOMAIN[type(event)]
        envelope = EventEnvelope(
            event_id=event_id or f"e{self.position}",
            type=kind.name,
            payload=kind.to_pb(event).SerializeToString(),
            command=CommandTerms(expected_version=expected),
        )
        return self.changes.told(envelope, self.position, void=void)


def test_changes_and_returns() -> None:
    record = Record()
    assert record.tell(ev.DeploymentCreated(WEB, "u1")) == ""
    assert record.tell(ev.DeploymentScaled(ID, 3)) == f"replicas {WEB.replicas} -> 3"
    scaled = replace(WEB, replicas=3)
    newer = replace(scaled, container_image="nginx:2", labels={"tier": "front"})
    assert record.tell(ev.DeploymentUpdated(ID, newer)) == (
        "container_image nginx:1 -> nginx:2, labels - -> tier=front, revision 2"
    )
    cheaper = replace(newer, priority=10)
    assert record.tell(ev.DeploymentUpdated(ID, cheaper)) == (f"priority {WEB.priority} -> 10"), (
        "no new revision"
    )
    assert (
        record.tell(ev.DeploymentUpdated(ID, cheaper, "key")) == "another environment, revision 3"
    )
    back = replace(cheaper, container_image="nginx:1")
    assert record.tell(ev.DeploymentUpdated(ID, back)) == (
        "container_image nginx:2 -> nginx:1, no environment any more, "
        "revision 4, gone back to what revision 1 was"
    )
    assert record.tell(ev.DeploymentUpdated(ID, back)) == "nothing"
    assert record.tell(ev.DeploymentDeleted(ID)) == ""


def test_what_is_void_changed_nothing() -> None:
    record = Record()
    record.tell(ev.DeploymentCreated(WEB, "u1"), event_id=ID)
    other = replace(WEB, container_image="nginx:2")
    assert "-> nginx:2" in record.tell(ev.DeploymentUpdated(ID, other), expected=1)
    stale = replace(WEB, container_image="nginx:3")
    assert record.tell(ev.DeploymentUpdated(ID, stale), expected=1).startswith("void, it was meant")
    assert record.tell(ev.DeploymentCreated(WEB, "u1"), event_id=ID) == "void, a repeat"
    assert "nginx:2 -> nginx:3" in record.tell(ev.DeploymentUpdated(ID, stale), expected=2)


def test_a_former_life_is_told_apart_from_a_repeat() -> None:
    record = Record()
    record.tell(ev.DeploymentCreated(WEB, "u1"), event_id=ID)
    assert record.tell(ev.DeploymentScaled(ID, 3)) == f"replicas {WEB.replicas} -> 3"
    record.tell(ev.DeploymentDeleted(ID))
    assert record.tell(ev.DeploymentScaled(ID, 5), void=True) == ""
    assert record.tell(ev.DeploymentCreated(WEB, "u1"), event_id=ID, void=True) == "void, a repeat"
    anew = record.tell(ev.DeploymentCreated(WEB, "u1"), event_id=ID)
    assert anew == "created anew, what came before was a former life"
    assert record.tell(ev.DeploymentScaled(ID, 3)) == f"replicas {WEB.replicas} -> 3"
    assert record.tell(ev.DeploymentCreated(WEB, "u1"), event_id=ID) == "void, a repeat"


def test_a_record_without_the_creation_tells_what_is_asked_for() -> None:
    record = Record()
    assert record.tell(ev.DeploymentScaled(ID, 3)) == ""
    assert record.tell(ev.DeploymentUpdated(ID, WEB)) == ""


def test_the_line_of_a_command_has_its_changes() -> None:
    event = {
        "type": "fogbank.v1.DeploymentScaled",
        "actor": "user/u1",
        "aggregate": f"deployment/{ID}",
        "payload": {"deployment_id": ID, "replicas": 3},
    }

    def told(changed: str) -> list[str]:
        return list(lines(event, f"deployment/{ID}", lambda _, __: "", changed))

    assert told("replicas 1 -> 3") == ["deployment scaled by user/u1: replicas 1 -> 3"]
    assert told("") == ["deployment scaled by user/u1: replicas 3"]


def test_what_operators_say_of_nodes_is_told_with_instants_for_people() -> None:
    payload = {"node_id": "n1", "deadline_us": "1700000000000000", "reason": "the rack moves"}
    event = {
        "type": "fogbank.v1.NodeDraining",
        "payload": payload,
        "actor": "user/u1",
        "aggregate": "node/n1",
    }
    (said,) = lines(event, "node/n1", lambda kind, known: {"user/u1": "ada"}[f"{kind}/{known}"])
    assert said == (
        "node draining by user/u1 (ada): deadline 2023-11-14T22:13:20.000Z, reason the rack moves"
    )
    (said,) = lines(event, "node/n1", lambda _, __: "")
    assert said.startswith("node draining by user/u1: "), "nobody knows her name"
