"""Who may shake hands: the checks of an agent's first message and of a changed host."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from fogbank.domain.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from fogbank.domain.facts import NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.gpus import MAX_GPUS, WHOLE
from fogbank.domain.node import NO_DETAILS, Fingerprint, HostDetails
from fogbank.domain.policy_bounds import MAX_AMOUNT
from fogbank.domain.resources import Resources
from fogbank.domain.states import NodeStatus
from services.gateway.core.join_refusals import removed

MAX_NAME = 100
MAX_LABELS = 64
MAX_TEXT = 256

_REGION = re.compile(r"[A-Za-z0-9._-]{0,63}")
_MOST = {
    "cpu_millicores": MAX_AMOUNT,
    "memory_mib": MAX_AMOUNT,
    "storage_gib": MAX_AMOUNT,
    "gpu_thousandths": MAX_GPUS * WHOLE,
}
_DETAIL_TEXTS = ("kernel_release", "engine_name", "engine_version")
_DETAIL_AMOUNTS = ("image_disk_gib", "volume_disk_gib")


@dataclass(frozen=True, slots=True)
class Hello:
    """An agent's first message: who it is, what it remembers, what its host has.

    `last_epoch` is a packed position and `last_sequence` a log sequence, 0 for none.
    """

    node_id: str
    name: str
    last_epoch: int
    last_sequence: int
    fingerprint: Fingerprint
    details: HostDetails = NO_DETAILS


def check_hello(hello: Hello) -> None:
    """Raise InvalidArgumentError unless the message makes sense in itself."""
    check_node_id(hello.node_id, "hello.node_id")
    if not (1 <= len(hello.name) <= MAX_NAME and hello.name.isprintable()):
        raise InvalidArgumentError.of_field(
            "hello.name", f"must be 1 to {MAX_NAME} printable characters, got {len(hello.name)}"
        )
    for field, value in (("last_epoch", hello.last_epoch), ("last_sequence", hello.last_sequence)):
        if value < 0:
            raise InvalidArgumentError.of_field(f"hello.{field}", f"must not be negative: {value}")
    check_fingerprint(hello.fingerprint, "hello.fingerprint")
    check_details(hello.details, "hello.fingerprint.details")


def check_node_id(node_id: str, path: str) -> None:
    """Raise InvalidArgumentError unless a node's id is one."""
    try:
        canonical = str(UUID(node_id))
    except ValueError:
        canonical = ""
    if canonical != node_id or not node_id:
        raise InvalidArgumentError.of_field(path, "must be a UUID in lowercase")


def check_fingerprint(fingerprint: Fingerprint, path: str) -> None:
    """Raise InvalidArgumentError unless a host's account of itself makes sense."""
    _check_amounts(fingerprint.capacity, f"{path}.capacity")
    _check_amounts(fingerprint.allocatable, f"{path}.allocatable")
    if not fingerprint.allocatable.fits_in(fingerprint.capacity):
        raise InvalidArgumentError.of_field(
            f"{path}.allocatable", "must not be more than the capacity"
        )
    if not _REGION.fullmatch(fingerprint.region):
        raise InvalidArgumentError.of_field(
            f"{path}.region", "must be at most 63 letters, digits, '.', '_' or '-'"
        )
    texts = (
        fingerprint.arch,
        fingerprint.os,
        fingerprint.gpu_model,
        fingerprint.agent_version,
        *fingerprint.labels,
        *fingerprint.labels.values(),
    )
    if len(fingerprint.labels) > MAX_LABELS or not all(map(_is_text, texts)):
        raise InvalidArgumentError.of_field(
            path, f"may have {MAX_LABELS} labels, texts of at most {MAX_TEXT} printable characters"
        )


def check_details(details: HostDetails, path: str) -> None:
    """Raise InvalidArgumentError unless what a host says it runs on makes sense."""
    if len(details.gpus) > MAX_GPUS:
        raise InvalidArgumentError.of_field(
            f"{path}.gpus", f"may be at most {MAX_GPUS}, got {len(details.gpus)}"
        )
    models = {f"gpus[{number}].model": gpu.model for number, gpu in enumerate(details.gpus)}
    texts = {name: getattr(details, name) for name in _DETAIL_TEXTS} | models
    for name, text in texts.items():
        if not _is_text(text):
            raise InvalidArgumentError.of_field(
                f"{path}.{name}",
                f"must be at most {MAX_TEXT} printable characters, got {len(text)}",
            )
    for name in _DETAIL_AMOUNTS:
        _check_amount(getattr(details, name), f"{path}.{name}")
    for number, gpu in enumerate(details.gpus):
        _check_amount(gpu.memory_mib, f"{path}.gpus[{number}].memory_mib")


def _is_text(text: str) -> bool:
    return len(text) <= MAX_TEXT and text.isprintable()


def _check_amounts(amounts: Resources, path: str) -> None:
    for name, most in _MOST.items():
        _check_amount(getattr(amounts, name), f"{path}.{name}", most)


def _check_amount(value: int, path: str, most: int = MAX_AMOUNT) -> None:
    if not 0 <= value <= most:
        raise InvalidArgumentError.of_field(path, f"must be between 0 and {most}, got {value}")


def check_identity(fleet: FleetState, hello: Hello, namesakes: Iterable[NodeFact]) -> None:
    """Raise unless the fleet can take the node in as who it says it is.

    `namesakes` are all nodes of its name.

    Raises:
        FailedPreconditionError: it remembers less than it confirmed, so it is a copy of the node
            (or its disk was put back), and both would act for one; or it was removed.
        AlreadyExistsError: another node has its name, and is not offline or joined with it.
    """
    node = fleet.facts.nodes.get(hello.node_id)
    if node is not None and node.removed:
        raise removed(node.id, node.name)
    if node is not None and is_copy(node, hello):
        raise FailedPreconditionError(
            f"node {hello.node_id} confirmed an epoch that this agent does not know: its data "
            "folder is a copy or was restored; give this agent an empty one",
            reason="COPIED_IDENTITY",
        )
    for other in namesakes:
        if other.id != hello.node_id:
            _check_name_is_free(fleet, other)


def _check_name_is_free(fleet: FleetState, namesake: NodeFact) -> None:
    """Raise if a node keeps its name from others.

    One that joined keeps it while it is offline too, or another host could lock it out meanwhile.
    """
    status = fleet.node_status(namesake)
    if status is NodeStatus.REMOVED:
        return
    if namesake.id in fleet.facts.identities:
        until = f"removed: `fog nodes remove {namesake.id}`, if its host is gone"
    elif status is not NodeStatus.OFFLINE:
        until = "offline"
    else:
        return
    raise AlreadyExistsError(
        f"another node is called {namesake.name!r}; it keeps the name until it is {until}",
        reason="NODE_NAME_TAKEN",
    )


def is_copy(node: NodeFact, hello: Hello) -> bool:
    """Tell whether an agent remembers less than the node confirmed."""
    return hello.last_epoch < node.confirmed_epoch
