"""What a deployment asks for, as `fog status` shows it."""

import json
from pathlib import Path

import pytest
import yaml

from fogbank.cli.deployment_files import read_deployments
from fogbank.cli.deployment_requests import deployment_spec
from fogbank.cli.output import OutputFormat
from fogbank.cli.show_commands import print_detail
from fogbank.cli.spec_content import spec_content, spec_lines
from fogbank.cli.views import deployment_detail
from fogbank.codec.values import spec_from_pb, spec_to_pb
from fogbank.v1 import deployments_pb2

PLAIN = """
name: web
type: compute
container_image: nginx
replicas: 2
resources: {cpu: 0.5, memory: 512}
"""
ALL = (
    PLAIN
    + """
region: us-west
priority: 70
cluster_id: 3
strategy: spread
wait_for_capacity: true
constraints: [label.disk!=hdd, "region in a,b", label.gpu, arch=arm64]
gpu_model: t4
restart: on-failure
labels: {tier: front, app: web}
allow_colocation: true
rollout: {max_surge: 2, min_healthy_ms: 90000, auto_rollback: false}
disconnect: {lost_after_ms: 3600000, replace: false}
container:
  command: [serve, "two words"]
  ports: [{number: 80}, {number: 53, protocol: udp}]
  volumes:
    - {name: data, path: /data, size_gib: 2}
    - {name: conf, path: /conf, size_gib: 1, read_only: true}
  probe: {http: {port: 80, path: /healthz}, interval_ms: 500, restart_unhealthy: true}
  stop_signal: SIGQUIT
  stop_grace_ms: 30000
"""
)


def served(tmp_path: Path, text: str) -> deployments_pb2.DeploymentSpec:
    """Return the spec that a file asks for as the server shows it, defaults filled in."""
    path = tmp_path / "deployment.yaml"
    path.write_text(text)
    (made,) = read_deployments(path)
    return spec_to_pb(spec_from_pb(deployment_spec(made)))


@pytest.mark.parametrize("probe", ["tcp: {port: 1}", "grpc: {port: 2, service: x}"])
@pytest.mark.parametrize("text", [PLAIN, ALL])
def test_what_is_shown_may_be_deployed_again(tmp_path: Path, text: str, probe: str) -> None:
    text = text.replace("http: {port: 80, path: /healthz}", probe)
    spec = served(tmp_path, text)
    content = spec_content(spec)
    assert served(tmp_path, yaml.safe_dump(content)) == spec
    assert served(tmp_path, json.dumps(content)) == spec


def test_people_see_what_is_not_as_by_default(tmp_path: Path) -> None:
    def lines(text: str) -> dict[str, str]:
        return {key: said for key, said in spec_lines(spec_content(served(tmp_path, text))) if said}

    assert lines(PLAIN) == {}
    assert lines(ALL) == {
        "Command": "serve 'two words'",
        "Ports": "80/tcp, 53/udp",
        "Volumes": "data:/data:2, conf:/conf:1:ro",
        "Probe": "http:80/healthz (interval 0.5s, restart unhealthy)",
        "Stop signal": "SIGQUIT",
        "Stop grace": "30s",
        "Constraints": "label.disk!=hdd; region in a,b; label.gpu; arch=arm64",
        "GPU model": "t4",
        "Labels": "app=web, tier=front",
        "Restart": "on-failure",
        "Strategy": "spread",
        "Colocation": "replicas may share a node",
        "Without room": "waits",
        "Rollout": "max surge 2, min healthy 90s, no auto rollback",
        "Cut off": "lost after 1h, no replace",
    }


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ("{exec: {command: [test, -f, /a b]}}", "exec:test -f '/a b'"),
        ("{grpc: {port: 2, service: x}}", "grpc:2 service x"),
        ("{tcp: {port: 1}, failures: 5}", "tcp:1 (failures 5)"),
    ],
)
def test_probes_are_shown_as_flags_say_them(tmp_path: Path, probe: str, said: str) -> None:
    content = spec_content(served(tmp_path, f"{PLAIN}container: {{probe: {probe}}}\n"))
    assert dict(spec_lines(content))["Probe"] == said


def test_a_deployment_is_shown_with_what_it_asks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = deployments_pb2.Deployment(id="d1", owner_id="u1", spec=served(tmp_path, ALL))
    detail = deployment_detail(there, {})
    print_detail(
        detail
        | {
            "rollout": {
                "phase": "done",
                "revision": 1,
                "wanted_revision": 1,
                "message": "",
                "has_env": True,
            }
        },
        OutputFormat.TABLE,
    )
    said = capsys.readouterr().out
    for line in (
        "Owner:           u1",
        "Cluster:         3",
        "Priority:        70",
        "Ports:           80/tcp, 53/udp",
        "Environment:     given; its values are shown to nobody",
    ):
        assert line in said.splitlines()
    print_detail(detail, OutputFormat.JSON)
    assert json.loads(capsys.readouterr().out)["spec"]["labels"] == {"tier": "front", "app": "web"}
