"""What a deployment asks for: whole as a file for `fog deploy -f` says it, for people in lines."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from fogbank.cli.amounts import AMOUNTS
from fogbank.cli.durations import shown
from fogbank.cli.enum_words import enum_word
from fogbank.codec.values import disconnect_from_pb, rollout_from_pb
from fogbank.domain.containers import HealthProbe, ProbeKind
from fogbank.domain.deployment import DEFAULT_PRIORITY, DisconnectRules, RolloutSpec
from fogbank.v1 import deployments_pb2

_SIGNS = {"equal": "=", "not_equal": "!=", "in": " in "}
_TIME = "_ms"
_PROBES = ("tcp", "http", "grpc", "exec")


def spec_content(spec: deployments_pb2.DeploymentSpec) -> dict[str, Any]:
    """Return all of a spec with the fields and units of a file, defaults filled in."""
    return {
        "name": spec.name,
        "type": enum_word(deployments_pb2.ServiceType, spec.type, "SERVICE_TYPE_"),
        "container_image": spec.container_image,
        "replicas": spec.replicas,
        "resources": {
            amount.name: amount.shown(getattr(spec.resources, field))
            for field, amount in AMOUNTS.items()
        },
        "region": spec.region,
        "priority": spec.priority if spec.HasField("priority") else DEFAULT_PRIORITY,
        "cluster_id": spec.cluster_id,
        "strategy": spec.strategy,
        "wait_for_capacity": spec.wait_for_capacity,
        "constraints": [
            {
                "attribute": each.attribute,
                "operator": enum_word(
                    deployments_pb2.ConstraintOperator, each.operator, "CONSTRAINT_OPERATOR_"
                ),
                "values": list(each.values),
            }
            for each in spec.constraints
        ],
        "gpu_model": spec.gpu_model,
        "restart": _restart(spec.restart),
        "labels": dict(sorted(spec.labels.items())),
        "allow_colocation": spec.allow_colocation,
        "rollout": asdict(rollout_from_pb(spec.rollout)),
        "disconnect": asdict(disconnect_from_pb(spec.disconnect)),
        "container": _plain(spec.container),
    }


def _restart(number: int) -> str:
    policy = number or deployments_pb2.RESTART_POLICY_ALWAYS
    return enum_word(deployments_pb2.RestartPolicy, policy, "RESTART_POLICY_").replace("_", "-")


def _plain(value: Any) -> Any:
    """Return what a message about containers says, protocols as words."""
    if isinstance(value, deployments_pb2.Port):
        protocol = value.protocol or deployments_pb2.PORT_PROTOCOL_TCP
        word = enum_word(deployments_pb2.PortProtocol, protocol, "PORT_PROTOCOL_")
        return {"number": value.number, "protocol": word}
    if hasattr(value, "ListFields"):
        return {field.name: _plain(part) for field, part in value.ListFields()}
    if isinstance(value, bool | int | str):
        return value
    return [_plain(part) for part in value]


def spec_lines(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield labels and texts of what of a spec is not as by default, as flags say it.

    `content` is what `spec_content` returns. Name, image, resources and the like have lines anyhow.
    """
    yield from _container_lines(content["container"])
    yield "Constraints", "; ".join(_constraint(each) for each in content["constraints"])
    yield "GPU model", content["gpu_model"]
    yield "Labels", ", ".join(f"{key}={value}" for key, value in content["labels"].items())
    yield "Restart", "" if content["restart"] == "always" else content["restart"]
    yield "Strategy", content["strategy"]
    yield "Colocation", "replicas may share a node" if content["allow_colocation"] else ""
    yield "Without room", "waits" if content["wait_for_capacity"] else ""
    yield "Rollout", _changed(content["rollout"], asdict(RolloutSpec()))
    yield "Cut off", _changed(content["disconnect"], asdict(DisconnectRules()))


def _container_lines(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    import shlex

    yield "Command", shlex.join(container.get("command", ()))
    ports = container.get("ports", ())
    yield "Ports", ", ".join(f"{port['number']}/{port['protocol']}" for port in ports)
    yield "Volumes", ", ".join(_volume(volume) for volume in container.get("volumes", ()))
    yield "Probe", _probe(container.get("probe", {}))
    yield "Stop signal", container.get("stop_signal", "")
    grace_ms = container.get("stop_grace_ms")
    yield "Stop grace", shown(grace_ms) if grace_ms else ""


def _volume(volume: Mapping[str, Any]) -> str:
    read_only = ":ro" if volume.get("read_only") else ""
    return f"{volume['name']}:{volume['path']}:{volume['size_gib']}{read_only}"


def _probe(probe: Mapping[str, Any]) -> str:
    import shlex

    kind = next((each for each in _PROBES if each in probe), None)
    if kind is None:
        return ""
    tried = probe[kind]
    if kind == "exec":
        text = f"exec:{shlex.join(tried['command'])}"
    else:
        text = f"{kind}:{tried['port']}{tried.get('path', '')}"
    if tried.get("service"):
        text += f" service {tried['service']}"
    rules = {name: value for name, value in probe.items() if name != kind}
    unusual = _changed(rules, asdict(HealthProbe(ProbeKind.TCP)))
    return f"{text} ({unusual})" if unusual else text


def _constraint(constraint: Mapping[str, Any]) -> str:
    sign = _SIGNS.get(constraint["operator"], " ")
    return f"{constraint['attribute']}{sign}{','.join(constraint['values'])}".rstrip()


def _changed(rules: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    return _rules({name: value for name, value in rules.items() if value != usual[name]})


def _rules(rules: Mapping[str, Any]) -> str:
    """Return rules in words; times as people write them."""
    said = []
    for name, value in rules.items():
        words = name.removesuffix(_TIME).replace("_", " ")
        if isinstance(value, bool):
            said.append(words if value else f"no {words}")
        else:
            said.append(f"{words} {shown(value) if name.endswith(_TIME) else value}")
    return ", ".join(said)
