"""A round in JSON has the names of its fields, whichever way their classes are made."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.resources import Resources
from services.gateway.http_api.rendering import plain


def test_a_placement_is_shown_by_names() -> None:
    placed = ev.DeploymentPlaced(
        "d1", 3, Resources(500, 256, 1, 0), (ev.Placement("r1", 0, 1, "n1", 812, ("r0",)),)
    )
    event = ev.RoundDecided(b"\x01", 7, 0, "balanced@1", b"\x02", 1, 640, outcomes=(placed,))
    (outcome,) = plain(event)["outcomes"]
    assert outcome["deployment_id"] == "d1"
    assert outcome["resources"]["cpu_millicores"] == 500
    assert outcome["placements"] == [
        {
            "replica_id": "r1",
            "slot": 0,
            "generation": 1,
            "node_id": "n1",
            "score": 812,
            "starts_after": ["r0"],
            "replaces": "",
            "gpu_devices": [],
        }
    ]
