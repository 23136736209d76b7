"""How containers are made, watched and ended, as files and flags say it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fogbank.cli.failures import UsageFailure
from fogbank.v1 import deployments_pb2

_FLAG_PROBES = "tcp:PORT, http:PORT/PATH, grpc:PORT or exec:COMMAND"


def container_message(
    content: Mapping[str, Any], where: str
) -> deployments_pb2.ContainerSpec | None:
    """Return the message of what a file has under `container`; None for nothing.

    Raises:
        UsageFailure: a field that isn't there, or with a value of the wrong kind.
    """
    from google.protobuf.json_format import ParseDict, ParseError

    if not content:
        return None
    try:
        return ParseDict(_spelled(content), deployments_pb2.ContainerSpec())
    except (ParseError, TypeError, AttributeError) as error:
        raise UsageFailure(f"{where}: container: {error}") from None


def _spelled(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with protocols as the contract spells them."""
    spelled = dict(content)
    if "ports" in spelled:
        spelled["ports"] = [
            port | {"protocol": f"PORT_PROTOCOL_{str(port['protocol']).upper()}"}
            if isinstance(port, dict) and "protocol" in port
            else port
            for port in spelled["ports"]
        ]
    return spelled


def flagged(
    ports: Sequence[str], volumes: Sequence[str], probe: str, stop_grace_ms: int
) -> dict[str, Any]:
    """Return what flags ask for, as a file would say it.

    Raises:
        UsageFailure: a flag that makes no sense.
    """
    content: dict[str, Any] = {}
    if ports:
        content["ports"] = [_port(text) for text in ports]
    if volumes:
        content["volumes"] = [_volume(text) for text in volumes]
    if probe:
        content["probe"] = _probe(probe)
    if stop_grace_ms:
        content["stop_grace_ms"] = stop_grace_ms
    return content


def _port(text: str) -> dict[str, Any]:
    number, _, protocol = text.partition("/")
    if not number.isdecimal() or protocol not in {"", "tcp", "udp"}:
        raise UsageFailure(f"--port {text!r} is neither a number such as 80 nor one such as 53/udp")
    return {"number": int(number)} | ({"protocol": protocol} if protocol else {})


def _volume(text: str) -> dict[str, Any]:
    name, *rest = text.split(":")
    options = 3
    if len(rest) not in {2, options} or not rest[1].isdecimal() or rest[2:] not in ([], ["ro"]):
        raise UsageFailure(f"--volume {text!r} is not NAME:/PATH:GIB or NAME:/PATH:GIB:ro")
    found: dict[str, Any] = {"name": name, "path": rest[0], "size_gib": int(rest[1])}
    return found | ({"read_only": True} if rest[2:] else {})


def _probe(text: str) -> dict[str, Any]:
    kind, _, rest = text.partition(":")
    if kind == "exec" and rest:
        import shlex

        return {"exec": {"command": shlex.split(rest)}}
    port, slash, path = rest.partition("/")
    if not port.isdecimal() or kind not in {"tcp", "http", "grpc"} or (slash and kind != "http"):
        raise UsageFailure(f"--probe {text!r} is none of {_FLAG_PROBES}")
    return {kind: {"port": int(port)} | ({"path": f"/{path}"} if kind == "http" else {})}
