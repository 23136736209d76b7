"""The simulated nodes of a local system: from a file, from a number, or as they were."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fogbank.local.data_dir import write_json
from fogbank.local.errors import FleetFileError

DEFAULT_NODES = 8
MOST_NODES = 10_000
MOST_AGENT_PROCESSES = 8

_MIB_PER_GIB = 1024


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """One node that only pretends. cpu in cores, memory in MiB, storage in GiB, gpu in devices."""

    name: str
    region: str = "us-east"
    cpu: float = 4.0
    memory: int = 8 * _MIB_PER_GIB
    storage: int = 100
    gpu: int = 0
    gpu_model: str = ""
    labels: dict[str, str] = field(default_factory=dict)


# Ask by ask, the four examples need on one node at most 9 cores, 14.5 GiB and 565 GiB. The GPU
# nodes hold all four at once, the five with 1000 GiB everything that may land on them, so that no
# order of deployment can fill up what a later one needs.
_SMALL = {"cpu": 4.0, "memory": 8 * _MIB_PER_GIB, "storage": 100}
_STORE = {"cpu": 8.0, "memory": 16 * _MIB_PER_GIB, "storage": 1000}
_GPU = {
    "cpu": 16.0,
    "memory": 32 * _MIB_PER_GIB,
    "storage": 1000,
    "gpu": 1,
    "gpu_model": "T4",
}
_MIX: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("store", "us-east", _STORE),
    ("gpu", "us-west", _GPU),
    ("edge", "us-east", _SMALL),
    ("store", "us-west", _STORE),
    ("gpu", "us-east", _GPU),
    ("edge", "us-west", _SMALL),
    ("store", "us-east", _STORE),
    ("edge", "us-west", _SMALL),
)


def default_fleet(count: int = DEFAULT_NODES) -> list[SimulatedNode]:
    """Return `count` nodes of three kinds in two regions; the first eight always the same.

    Raises:
        FleetFileError: the count is out of bounds.
    """
    if not 1 <= count <= MOST_NODES:
        raise FleetFileError(f"nodes must be 1 to {MOST_NODES}, not {count}")
    numbers: dict[str, int] = {}
    nodes = []
    for index in range(count):
        kind, region, size = _MIX[index % len(_MIX)]
        stem = f"{kind}-{region.removeprefix('us-')}"
        numbers[stem] = numbers.get(stem, 0) + 1
        nodes.append(
            SimulatedNode(
                name=f"{stem}-{numbers[stem]}", region=region, labels={"kind": kind}, **size
            )
        )
    return nodes


def read_fleet_file(path: Path) -> list[SimulatedNode]:
    """Read `nodes: [{name, count, region, cpu, memory, storage, gpu, gpu_model, labels}]`.

    A count over 1 makes NAME-1 to NAME-COUNT.

    Raises:
        FleetFileError: the file can't be read, or an entry is wrong; names entry and field.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FleetFileError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FleetFileError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list):
        raise FleetFileError(f"{path}: expected `nodes:` with a list of nodes")
    if unknown := set(content) - {"nodes"}:
        raise FleetFileError(f"{path}: unknown field {min(map(str, unknown))!r}")
    nodes = [
        node
        for number, entry in enumerate(content["nodes"], start=1)
        for node in _expand(entry, f"{path}: node {number}")
    ]
    return _checked(nodes, str(path))


def _checked(nodes: list[SimulatedNode], where: str) -> list[SimulatedNode]:
    if not 1 <= len(nodes) <= MOST_NODES:
        raise FleetFileError(f"{where}: a fleet has 1 to {MOST_NODES} nodes, not {len(nodes)}")
    seen: set[str] = set()
    for node in nodes:
        if node.name in seen:
            raise FleetFileError(f"{where}: two nodes are named {node.name!r}")
        seen.add(node.name)
    return nodes


_KNOWN = {item.name for item in fields(SimulatedNode)} | {"count"}
_LARGEST_AMOUNT = 1_000_000_000
# Names become names of files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _expand(entry: object, where: str) -> list[SimulatedNode]:
    if not isinstance(entry, dict):
        raise FleetFileError(f"{where}: expected fields such as `name: edge`, got {entry!r}")
    if unknown := sorted(str(key) for key in entry if key not in _KNOWN):
        raise FleetFileError(
            f"{where}: unknown field {unknown[0]!r}; known are {', '.join(sorted(_KNOWN))}"
        )
    name = _text(entry, "name", where)
    if not _NAME.fullmatch(name):
        raise FleetFileError(
            f"{where}: name must have 1 to 64 letters, digits, '.', '_' or '-' and begin with a "
            f"letter or digit, not {name!r}"
        )
    count = _whole(entry, "count", where, 1, lowest=1)
    if count > MOST_NODES:
        raise FleetFileError(f"{where}: count must be 1 to {MOST_NODES}, not {count}")
    sample = SimulatedNode(name="")
    base = SimulatedNode(
        name=name,
        region=_text(entry, "region", where, sample.region),
        cpu=_cores(entry, where, sample.cpu),
        memory=_whole(entry, "memory", where, sample.memory, lowest=1),
        storage=_whole(entry, "storage", where, sample.storage),
        gpu=_whole(entry, "gpu", where, sample.gpu),
        gpu_model=_text(entry, "gpu_model", where, ""),
        labels=_labels(entry, where),
    )
    if count == 1:
        return [base]
    return [
        SimulatedNode(
            **{item.name: getattr(base, item.name) for item in fields(base)}
            | {"name": f"{name}-{number}"}
        )
        for number in range(1, count + 1)
    ]


def _text(entry: dict[Any, Any], key: str, where: str, default: str | None = None) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str):
        raise FleetFileError(f"{where}: {key} must be text, not {value!r}")
    return value


def _whole(entry: dict[Any, Any], key: str, where: str, default: int, lowest: int = 0) -> int:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise FleetFileError(f"{where}: {key} must be a whole number, not {value!r}")
    if not lowest <= value <= _LARGEST_AMOUNT:
        raise FleetFileError(f"{where}: {key} must be {lowest} to {_LARGEST_AMOUNT}, not {value}")
    return value


def _cores(entry: dict[Any, Any], where: str, default: float) -> float:
    value = entry.get("cpu", default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FleetFileError(f"{where}: cpu must be a number of cores, not {value!r}")
    if not 0 < value <= _LARGEST_AMOUNT:
        raise FleetFileError(f"{where}: cpu must be over 0, not {value}")
    return float(value)


def _labels(entry: dict[Any, Any], where: str) -> dict[str, str]:
    value = entry.get("labels", {})
    if not isinstance(value, dict) or not all(
        isinstance(key, str) and isinstance(text, str) for key, text in value.items()
    ):
        raise FleetFileError(f"{where}: labels must map text to text, not {value!r}")
    return dict(value)


def keep_fleet(path: Path, nodes: Sequence[SimulatedNode]) -> None:
    """Write the fleet for the next start."""
    write_json(
        path, [{item.name: getattr(node, item.name) for item in fields(node)} for node in nodes]
    )


def kept_fleet(path: Path) -> list[SimulatedNode] | None:
    """Return the fleet of the last start, or None if there was none."""
    try:
        return [SimulatedNode(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, TypeError) as error:
        raise FleetFileError(
            f"{path} is broken ({error}); name the fleet again with --fleet or --nodes"
        ) from error


@dataclass(frozen=True, slots=True)
class AgentGroup:
    """Nodes that share one agent process."""

    name: str
    nodes: tuple[SimulatedNode, ...]


def group_fleet(nodes: Sequence[SimulatedNode]) -> list[AgentGroup]:
    """Spread nodes over few processes: one each for a small fleet, evenly for a large one."""
    if len(nodes) <= MOST_AGENT_PROCESSES:
        return [AgentGroup(f"agent-{node.name}", (node,)) for node in nodes]
    return [
        AgentGroup(f"agent-{number + 1}", tuple(nodes[number::MOST_AGENT_PROCESSES]))
        for number in range(MOST_AGENT_PROCESSES)
    ]
