"""Ids and digests, derived so that the same thing gets the same id everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha1, sha256
from uuid import UUID, uuid5

from fogbank.domain.later import plain
from fogbank.domain.policy import Policy

# A fixed root for all ids that Fogbank derives.
NAMESPACE = UUID("6f6ce9a5-32f5-5a0e-9a0b-5d9b2e7f3c11")

ZERO_DIGEST = bytes(32)

_UUID_BYTES = 16
_NODES_REMEMBERED = 1 << 16
# What says that a UUID is of the usual variant (RFC 9562), by the digit that stood in its place.
_VARIANT = {f"{digit:x}": f"{digit & 0x3 | 0x8:x}" for digit in range(16)}

# Stands for the deployment of a dry run; no event has it.
PLANNED_ID = str(uuid5(NAMESPACE, "planned"))


def digest(data: bytes) -> bytes:
    """Return the SHA-256 of stored bytes."""
    return sha256(data).digest()


def canonical_uuid(text: str) -> str:
    """Return a UUID as ids are written, however it was; empty if it is none."""
    try:
        return str(UUID(text))
    except ValueError:
        return ""


@lru_cache(_NODES_REMEMBERED)
def the_node_id(text: str) -> str:
    """Return a node's id as it was read first, so that a state holds it once.

    It names each replica on the node, and whatever is kept of the node is found by it.
    """
    return text


def command_event_id(owner_id: str, method: str, request_id: str) -> str:
    """Return the event id of a command, so that a repeat of the request is the same event."""
    return str(uuid5(NAMESPACE, f"{owner_id}\n{method}\n{request_id}"))


def replica_id(deployment_id: str, slot: int, generation: int) -> str:
    """Return the id of the `generation`th replica of a slot; a replacement gets another id."""
    return str(uuid5(UUID(deployment_id), f"{slot}/{generation}"))


def replica_ids(deployment_id: str) -> Callable[[int, int], str]:
    """Return a deployment's `replica_id`, as a function of slot and generation.

    It makes the same ids at a fourth of the cost; the hot path makes one for each replica.
    """
    try:
        namespace = bytes.fromhex(deployment_id.replace("-", ""))
    except ValueError:
        namespace = b""
    if len(namespace) != _UUID_BYTES:  # written in one of the unusual ways
        namespace = UUID(deployment_id).bytes

    begun = sha1(namespace, usedforsecurity=False).copy

    def name(slot: int, generation: int) -> str:
        hashed = begun()
        hashed.update(b"%d/%d" % (slot, generation))
        text = hashed.hexdigest()
        variant = _VARIANT[text[16]]
        return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"

    return name


def report_event_id(node_id: str, number: int, epoch: int) -> str:
    """Return the event id of a node's report as sent in an epoch."""
    return str(uuid5(UUID(node_id), f"report/{epoch}/{number}"))


def round_event_id(prev_digest: bytes, instance: str, instant_us: int) -> str:
    """Return the event id of a round."""
    return str(uuid5(NAMESPACE, f"round\n{prev_digest.hex()}\n{instance}\n{instant_us}"))


def genesis_event_id(fleet: str, step: str) -> str:
    """Return the id of one of the events that begin a fleet, the same whoever writes them."""
    return str(uuid5(NAMESPACE, f"genesis\n{fleet}\n{step}"))


def policy_digest(policy: Policy) -> bytes:
    """Return the SHA-256 of a policy's canonical text."""
    text = json.dumps(plain(policy), sort_keys=True, separators=(",", ":"))
    return digest(text.encode())
