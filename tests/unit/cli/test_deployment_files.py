"""Deployments as YAML and as flags."""

from pathlib import Path

import pytest

from fogbank.cli.container_text import flagged
from fogbank.cli.deployment_files import (
    ConstraintText,
    DeploymentText,
    parse_constraint,
    parse_pair,
    parse_priority,
    read_deployments,
)
from fogbank.cli.deployment_requests import create_request
from fogbank.cli.failures import UsageFailure
from fogbank.v1 import deployments_pb2

MINIMAL = """
name: web
type: compute
container_image: nginx
replicas: 2
resources: {cpu: 0.5, memory: 512}
"""


def read(tmp_path: Path, text: str) -> list[DeploymentText]:
    path = tmp_path / "deployment.yaml"
    path.write_text(text)
    return read_deployments(path)


def test_the_least_that_a_file_must_say(tmp_path: Path) -> None:
    (made,) = read(tmp_path, MINIMAL)
    assert made == DeploymentText("web", "nginx", "compute", 2, 0.5, 512)
    assert made.storage == 10
    assert made.region == "", "the server fills it in"


def test_a_file_says_how_containers_are_made(tmp_path: Path) -> None:
    (made,) = read(
        tmp_path,
        MINIMAL
        + """
container:
  command: [serve, --all]
  ports: [{number: 80}, {number: 53, protocol: udp}]
  volumes: [{name: data, path: /data, size_gib: 2}]
  probe: {http: {port: 80, path: /healthz}, interval_ms: 500}
  stop_grace_ms: 30000
""",
    )
    asked = create_request(made).spec.container
    assert list(asked.command) == ["serve", "--all"]
    assert [(port.number, port.protocol) for port in asked.ports] == [
        (80, deployments_pb2.PORT_PROTOCOL_UNSPECIFIED),
        (53, deployments_pb2.PORT_PROTOCOL_UDP),
    ]
    assert (asked.probe.http.path, asked.probe.interval_ms) == ("/healthz", 500)
    assert asked.stop_grace_ms == 30_000


@pytest.mark.parametrize(
    "content",
    ["[]", "{port: 80}", "{ports: [{number: x}]}", "{ports: [{number: 1, protocol: sctp}]}"],
)
def test_a_container_that_makes_no_sense_is_named(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageFailure, match="container"):
        read(tmp_path, f"{MINIMAL}\ncontainer: {content}")


def test_flags_say_it_too() -> None:
    assert flagged(["80", "53/udp"], ["data:/data:2", "seed:/seed:1:ro"], "exec:cat '/a b'", 5) == {
        "ports": [{"number": 80}, {"number": 53, "protocol": "udp"}],
        "volumes": [
            {"name": "data", "path": "/data", "size_gib": 2},
            {"name": "seed", "path": "/seed", "size_gib": 1, "read_only": True},
        ],
        "probe": {"exec": {"command": ["cat", "/a b"]}},
        "stop_grace_ms": 5,
    }
    assert flagged([], [], "http:80/a/b", 0) == {"probe": {"http": {"port": 80, "path": "/a/b"}}}
    assert flagged([], [], "grpc:1", 0) == {"probe": {"grpc": {"port": 1}}}
    assert flagged([], [], "", 0) == {}


@pytest.mark.parametrize(
    ("ports", "volumes", "probe"),
    [(["x"], [], ""), ([], ["data:/data"], ""), ([], ["a:/b:1:rw"], ""), ([], [], "tcp:80/x")],
)
def test_flags_that_make_no_sense(ports: list[str], volumes: list[str], probe: str) -> None:
    with pytest.raises(UsageFailure, match=r"--(port|volume|probe)"):
        flagged(ports, volumes, probe, 0)


def test_all_that_a_file_can_say(tmp_path: Path) -> None:
    (made,) = read(
        tmp_path,
        """
name: db
type: storage
container_image: pg
replicas: 1
resources: {cpu: 2, memory: 1024, gpu: 1, storage: 20}
env: {A: b}
region: us-west
priority: HIGH
cluster_id: 3
strategy: balanced
wait_for_capacity: true
constraints:
  - label.disk!=hdd
  - {attribute: region, operator: in, values: [us-east, us-west]}
gpu_model: T4
restart: on-failure
labels: {team: x}
allow_colocation: true
disconnect: {lost_after_ms: 90000, replace: false, stop_on_client_after_ms: 60000}
request_id: r1
""",
    )
    assert made.priority == 80
    assert made.constraints == (
        ConstraintText("label.disk", "not_equal", ("hdd",)),
        ConstraintText("region", "in", ("us-east", "us-west")),
    )
    request = create_request(made)
    assert request.request_id == "r1"
    assert dict(request.env) == {"A": "b"}
    spec = request.spec
    assert (spec.name, spec.type) == ("db", deployments_pb2.SERVICE_TYPE_STORAGE)
    assert spec.resources.cpu_millicores == 2000
    assert spec.resources.gpu_thousandths == 1000
    assert spec.restart == deployments_pb2.RESTART_POLICY_ON_FAILURE
    assert spec.constraints[1].operator == deployments_pb2.CONSTRAINT_OPERATOR_IN
    assert spec.wait_for_capacity
    assert spec.allow_colocation
    assert spec.priority == 80
    assert spec.disconnect == deployments_pb2.DisconnectRules(
        lost_after_ms=90_000, replace=False, stop_on_client_after_ms=60_000
    )


def test_without_rules_of_its_own_nothing_is_said_of_nodes_cut_off(tmp_path: Path) -> None:
    (made,) = read(tmp_path, MINIMAL + "disconnect: {}")
    assert not create_request(made).spec.HasField("disconnect")


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("{lost_after: 1}", "disconnect: unknown field 'lost_after'"),
        ("{replace: 1}", "disconnect: replace must be true or false, got 1"),
        ("{lost_after_ms: 30s}", "disconnect: lost_after_ms must be a whole number, got '30s'"),
        ("never", "disconnect: expected fields"),
    ],
)
def test_rules_for_nodes_cut_off_name_what_is_wrong(
    tmp_path: Path, rules: str, problem: str
) -> None:
    with pytest.raises(UsageFailure, match=problem):
        read(tmp_path, f"{MINIMAL}\ndisconnect: {rules}")


def test_no_priority_is_not_priority_zero(tmp_path: Path) -> None:
    (made,) = read(tmp_path, MINIMAL)
    assert not create_request(made).spec.HasField("priority")
    (lowest,) = read(tmp_path, MINIMAL + "priority: 0")
    assert create_request(lowest).spec.HasField("priority")


def test_each_request_without_an_id_gets_its_own(tmp_path: Path) -> None:
    (made,) = read(tmp_path, MINIMAL)
    assert create_request(made).request_id != create_request(made).request_id != ""


def test_a_file_may_hold_several(tmp_path: Path) -> None:
    made = read(tmp_path, f"{MINIMAL}\n---\n{MINIMAL.replace('web', 'api')}\n---\n")
    assert [one.name for one in made] == ["web", "api"]


def test_environment_values_stay_out_of_repr(tmp_path: Path) -> None:
    (made,) = read(tmp_path, MINIMAL + "env: {PASSWORD: hush}")
    assert "hush" not in repr(made)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("name: web", ""), "name is missing"),
        (("name: web", "name: 7"), "name must be text, got 7"),
        (("replicas: 2", "replicas: two"), "replicas must be a whole number, got 'two'"),
        (("replicas: 2", "replicas: true"), "replicas must be a whole number, got True"),
        (("replicas: 2", "replicas: 1.5"), "replicas must be a whole number, got 1.5"),
        (("type: compute", "type: web"), "type must be one of ['compute', 'storage',"),
        (("cpu: 0.5", "cpu: a"), "resources: cpu must be a number, got 'a'"),
        (("memory: 512", "ram: 512"), "resources: memory is missing"),
        (("memory: 512}", "memory: 512, disk: 1}"), "resources: unknown field 'disk'"),
        (("{cpu: 0.5, memory: 512}", "small"), "resources is 'small'; write what"),
        (("resources: {cpu: 0.5, memory: 512}", ""), "resources is missing; write what"),
        (("name: web", "name: web\nimage: x"), "unknown field 'image'; known are resources, name,"),
        (("name: web", "name: web\nenv: {A: 1}"), "env must be names with texts"),
        (("name: web", "name: web\npriority: top"), "priority must be 0 to 100 or one of low,"),
        (("name: web", "name: web\npriority: 1.5"), "priority must be a number or a word"),
        (("name: web", "name: web\nconstraints: a"), "constraints must be a list"),
        (("name: web", "name: web\nconstraints: ['a b']"), "constraint 1: 'a b' is none of"),
        (
            ("name: web", "name: web\nconstraints: [{attribute: region, operator: like}]"),
            "constraint 1: operator must be one of",
        ),
    ],
)
def test_what_makes_no_sense_is_named(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    with pytest.raises(UsageFailure) as caught:
        read(tmp_path, MINIMAL.replace(*change))
    assert complaint in caught.value.message
    assert "deployment.yaml" in caught.value.message


@pytest.mark.parametrize(
    ("text", "complaint"), [("", "is empty"), ("a: [", "is not YAML"), ("- a", "expected fields")]
)
def test_a_file_that_is_no_deployment(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageFailure, match=complaint):
        read(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="cannot read"):
        read_deployments(tmp_path / "none.yaml")


def test_the_committed_examples_are_what_the_guide_shows() -> None:
    folder = Path(__file__).parents[3] / "examples"
    shown = {
        made.name: [made.type, made.container_image, made.replicas, made.cpu, made.memory]
        for path in folder.glob("*-*.yaml")
        for made in read_deployments(path)
    }
    assert shown == {
        "nginx-server": ["compute", "nginx:1.24", 1, 1.0, 512],
        "api-service": ["compute", "myapp:v2.1", 3, 2.0, 2048],
        "ml-inference": ["compute", "tensorflow:latest-gpu", 2, 4.0, 8192],
        "distributed-storage": ["storage", "ceph:latest", 5, 2.0, 4096],
    }
    gpus_and_storage = {
        made.name: (made.gpu, made.storage)
        for path in folder.glob("*-*.yaml")
        for made in read_deployments(path)
    }
    assert gpus_and_storage == {
        "nginx-server": (0, 5),
        "api-service": (0, 10),
        "ml-inference": (1, 50),
        "distributed-storage": (0, 500),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("region=us-east", ConstraintText("region", "equal", ("us-east",))),
        ("region==us-east", ConstraintText("region", "equal", ("us-east",))),
        ("label.disk != hdd", ConstraintText("label.disk", "not_equal", ("hdd",))),
        ("label.a=b=c", ConstraintText("label.a", "equal", ("b=c",))),
        ("region in a, b", ConstraintText("region", "in", ("a", "b"))),
        ("label.gpu", ConstraintText("label.gpu", "exists")),
    ],
)
def test_constraints(text: str, expected: ConstraintText) -> None:
    assert parse_constraint(text, "--constraint") == expected


@pytest.mark.parametrize("text", ["", "=", "region=", "=x", "a b", "region in", "region in ,"])
def test_no_constraints(text: str) -> None:
    with pytest.raises(UsageFailure, match="is none of"):
        parse_constraint(text, "--constraint")


def test_pairs() -> None:
    assert parse_pair("A=b=c", "--env") == ("A", "b=c")
    assert parse_pair("A=", "--env") == ("A", "")
    for text in ("A", "=b", ""):
        with pytest.raises(UsageFailure, match="is not KEY=VALUE"):
            parse_pair(text, "--env")


def test_priorities() -> None:
    assert parse_priority("70", "--priority") == 70
    assert parse_priority("Gold", "--priority") == 60
    with pytest.raises(UsageFailure, match="--priority must be 0 to 100"):
        parse_priority("-1", "--priority")


def test_rollout_rules_are_the_servers_where_a_file_gives_none(tmp_path: Path) -> None:
    (made,) = read(tmp_path, MINIMAL + "rollout: {max_surge: 0, max_unavailable: 2}")
    assert create_request(made).spec.rollout == deployments_pb2.RolloutSpec(
        max_surge=0,
        max_unavailable=2,
        min_healthy_ms=5_000,
        progress_deadline_ms=600_000,
        auto_rollback=True,
    )
    for usual in ("", "rollout: {}", "rollout: {max_surge: 1}"):
        (made,) = read(tmp_path, MINIMAL + usual)
        assert not create_request(made).spec.HasField("rollout")


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ("{surge: 1}", "rollout: unknown field 'surge'"),
        ("{max_surge: one}", "rollout: max_surge must be a whole number, got 'one'"),
        ("{auto_rollback: 1}", "rollout: auto_rollback must be true or false, got 1"),
        ("slowly", "rollout: expected fields"),
    ],
)
def test_rollout_rules_that_are_none(tmp_path: Path, rules: str, complaint: str) -> None:
    with pytest.raises(UsageFailure) as caught:
        read(tmp_path, f"{MINIMAL}\nrollout: {rules}")
    assert complaint in caught.value.message
