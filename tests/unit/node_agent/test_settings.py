"""Settings of the agent, as the environment gives them."""

import json
from pathlib import Path

import pytest

from fogbank.domain.resources import Resources
from fogbank.runtime.settings import load
from services.node_agent.settings import AgentSettings


def test_a_bare_agent_calls_the_gateway_of_this_machine() -> None:
    settings = load(AgentSettings)
    assert settings.gateway_addrs == ("127.0.0.1:50051",)
    assert settings.node_name
    assert settings.token == ""
    assert settings.nodes == ()
    assert settings.runtime == "auto"
    assert settings.node_settings.policy.restart_delay_us == 15_000_000


def test_everything_can_be_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    for name, value in {
        "FOG_GATEWAY_ADDRS": "a:1, b:2",
        "FOG_AGENT_TOKEN_FILE": str(tmp_path / "token"),
        "FOG_LABELS": "zone=a,disk=ssd",
        "FOG_RESERVED_CPU_CORES": "0.5",
        "FOG_RESTART_DELAY_S": "0.5",
        "FOG_CONTAINER_CAPABILITIES": "chown, CAP_SETUID",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load(AgentSettings)
    assert settings.gateway_addrs == ("a:1", "b:2")
    assert settings.token == "secret"
    assert "secret" not in repr(settings)
    assert settings.labels == {"zone": "a", "disk": "ssd"}
    assert settings.container_capabilities == ("CHOWN", "SETUID")
    assert settings.reserved == Resources(cpu_millicores=500)
    assert settings.node_settings.policy.restart_delay_us == 500_000


def test_many_nodes_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nodes = [
        {"name": "edge-1", "cpu": 4.5, "memory": 16384, "storage": 1000, "labels": {"zone": "a"}},
        {"name": "edge-2", "region": "eu-west", "gpu": 2, "gpu_model": "T4"},
    ]
    (tmp_path / "nodes.json").write_text(json.dumps(nodes))
    monkeypatch.setenv("FOG_NODES_FILE", str(tmp_path / "nodes.json"))
    first, second = load(AgentSettings).nodes
    assert first.capacity == Resources(4500, 16384, 1000, 0)
    assert (second.region, second.capacity.gpu_thousandths) == ("eu-west", 2000)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("FOG_GATEWAY_ADDRS", ",", "names no gateway"),
        ("FOG_GATEWAY_ADDRS", "nowhere", "not host:port"),
        ("FOG_LABELS", "zone", "'zone' is not key=value"),
        ("FOG_NODE_NAME", "../up", "FOG_NODE_NAME may hold"),
        ("FOG_RUNTIME", "magic", "FOG_RUNTIME"),
        ("FOG_CONTAINER_CAPABILITIES", "ALL", "name the capabilities that are needed"),
        ("FOG_CONTAINER_CAPABILITIES", "a;b", "'A;B' is no name of a capability"),
        ("FOG_NETWORK", "none", "FOG_NETWORK"),
        ("FOG_NETWORK_POOL", "10.0.0.0/25", "has no room for a subnet /24"),
        ("FOG_NETWORK_POOL", "10.0.0.1/8", "FOG_NETWORK_POOL"),
        ("FOG_NODES", "[", "FOG_NODES: not JSON"),
        ("FOG_NODES", '[{"name": "a"}, {"name": "b", "cpu": 0}]', "FOG_NODES: 1.cpu: "),
        (
            "FOG_NODES",
            '[{"name": "a", "ram": 5}]',
            "FOG_NODES: 0: Object contains unknown field `ram`",
        ),
        ("FOG_NODES", '[{"name": "a/b"}]', "FOG_NODES: 0.name: "),
        ("FOG_NODES", '[{"name": "a"}, {"name": "a"}]', "given twice: a"),
    ],
)
def test_a_bad_setting_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    complaint: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as exit_info:
        load(AgentSettings)
    assert exit_info.value.code == 64
    assert complaint in capsys.readouterr().err
