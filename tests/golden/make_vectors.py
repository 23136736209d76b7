"""Write vectors.json if it is not there: `python -m tests.golden.make_vectors`.

It is never written again while the engine keeps its number: the file is what any reader of the
log, in any language, has to come to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import (
    command_event_id,
    digest,
    genesis_event_id,
    policy_digest,
    replica_id,
    report_event_id,
    round_event_id,
)
from fogbank.domain.policy import Policy
from fogbank.domain.position import etag, pack
from fogbank.domain.status import StatusTracker
from fogbank.placement import ENGINE
from tests.golden.examples import POLICY
from tests.golden.story import Story
from tests.support.fleet_log import an_id

PATH = Path(__file__).parent / "vectors.json"
_ID = an_id("vector")
_PREV = bytes(range(32))


def ids() -> dict[str, Any]:
    """Return what each rule for ids makes of one set of arguments."""
    return {
        "command_event_id": {
            "arguments": [_ID, "fogbank.v1.DeploymentService/CreateDeployment", "request-1"],
            "id": command_event_id(
                _ID, "fogbank.v1.DeploymentService/CreateDeployment", "request-1"
            ),
        },
        "replica_id": {"arguments": [_ID, 2, 3], "id": replica_id(_ID, 2, 3)},
        "report_event_id": {
            "arguments": [_ID, 7, 5 << 16 | 1],
            "id": report_event_id(_ID, 7, 5 << 16 | 1),
        },
        "round_event_id": {
            "arguments": [_PREV.hex(), "scheduler-a", 1_700_000_000_000_001],
            "id": round_event_id(_PREV, "scheduler-a", 1_700_000_000_000_001),
        },
        "genesis_event_id": {
            "arguments": ["default", "policy"],
            "id": genesis_event_id("default", "policy"),
        },
        "policy_digest": {
            "default": policy_digest(Policy()).hex(),
            "night@3": policy_digest(POLICY).hex(),
        },
        "digest": {"of": "fogbank", "sha256": digest(b"fogbank").hex()},
    }


def etags() -> list[list[Any]]:
    """Return positions as sequence, index and packed, with their texts."""
    places = [(1, 0), (1, 1), (42, 0), (42, 65535), (99_999_999_999_999, 7)]
    return [
        [sequence, index, pack(sequence, index), etag(pack(sequence, index))]
        for sequence, index in places
    ]


def read(commits: list[Commit], data: list[bytes]) -> dict[str, Any]:
    """Return what a reader comes to: per commit its digest and verdicts, the statuses after it,
    and what is booked in the end.
    """
    fleet, tracker = FleetState(), StatusTracker()
    told = []
    for commit, stored in zip(commits, data, strict=True):
        folded = fleet.fold(commit)
        tracker.update(fleet, folded)
        told.append(
            {
                "sequence": commit.sequence,
                "service": commit.service,
                "instance": commit.instance,
                "data": stored.hex(),
                "digest": commit.digest.hex(),
                "types": [type(envelope.event).__name__ for envelope in commit.envelopes],
                "verdicts": [
                    str(verdict.reason) if verdict.reason else "accepted"
                    for verdict in folded.verdicts
                ],
                "statuses": {
                    fleet.facts.deployments[known].spec.name: status.name
                    for known, status in sorted(tracker.current.items())
                },
            }
        )
    booked = {
        node.name: [
            fleet.booked(node.id).cpu_millicores,
            fleet.booked(node.id).memory_mib,
            fleet.booked(node.id).storage_gib,
            fleet.booked(node.id).gpu_thousandths,
        ]
        for node in fleet.facts.nodes.values()
    }
    return {"commits": told, "booked": booked, "rounds": fleet.decisions.rounds}


def main() -> None:
    """Write the file unless it exists."""
    if PATH.exists():
        return
    story = Story()
    story.tell()
    vectors = {
        "engine": ENGINE,
        "ids": ids(),
        "etags": etags(),
        "log": read(story.log.commits, story.log.data),
    }
    PATH.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
