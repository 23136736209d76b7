"""Updates, rollbacks and rebalances of a whole system, with agents that pretend containers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fog_up import FogUp, fog
from tests.support.grpc_user import GrpcUser

pytestmark = [pytest.mark.xdist_group("fog-up"), pytest.mark.slow]

DEPLOYMENT = """
name: rolling
type: compute
container_image: web:1
replicas: 2
resources: {cpu: 0.5, memory: 512}
rollout: {min_healthy_ms: 0, progress_deadline_ms: 3000}
"""


def rollout(system: FogUp) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        fog(system, "rollout", "status", "rolling", "-o", "json").stdout
    )
    return told


def test_an_update_an_undo_and_a_bad_image_that_goes_back_by_itself(
    system: FogUp, admin: GrpcUser, tmp_path: Path
) -> None:
    file = tmp_path / "rolling.yaml"
    file.write_text(DEPLOYMENT)
    made = fog(system, "deploy", "-f", str(file), "--wait", "-o", "name")
    assert made.returncode == 0, made.stderr
    known = made.stdout.strip()
    first = {replica.id for replica in admin.get(known).replicas}
    updated = fog(system, "update", "rolling", "--image", "web:2", "--wait")
    assert updated.returncode == 0, updated.stderr
    told = rollout(system)
    assert (told["phase"], told["revision"], told["updated"]) == ("done", 2, 2)
    second = admin.get(known)
    assert second.spec.container_image == "web:2"
    assert second.running_replicas == 2
    assert first.isdisjoint(replica.id for replica in second.replicas)
    undone = fog(system, "rollout", "undo", "rolling", "--wait")
    assert undone.returncode == 0, undone.stderr
    assert admin.get(known).spec.container_image == "web:1"
    by_file = fog(system, "update", "-f", str(file), "--wait")
    assert f"rolling ({known}): nothing to change" in by_file.stdout, by_file.stderr
    bad = fog(system, "update", "rolling", "--image", "simulated/missing", "--wait")
    assert bad.returncode == 1
    assert "rolling went back: A replica of revision 4 wasn't well in time" in bad.stderr
    told = rollout(system)
    assert (told["phase"], told["revision"], told["wanted_revision"]) == ("rolled_back", 4, 3)
    assert [each["state"] for each in told["revisions"]] == ["failed", "wanted", None, None]
    assert admin.get(known).running_replicas == 2
    assert fog(system, "delete", known, "-y", "--wait").returncode == 0


def test_a_rebalance_is_planned_carried_out_and_leaves_nothing_to_do(system: FogUp) -> None:
    made = [
        fog(system, "deploy", f"packed-{number}", "--image", "x", "--wait", "-o", "name")
        for number in range(3)
    ]
    assert [one.returncode for one in made] == [0, 0, 0], made[0].stderr
    before = json.loads(fog(system, "rebalance", "--min-gain", "1", "-o", "json").stdout)
    done = fog(system, "rebalance", "--min-gain", "1", "--apply", "--yes", "--wait", "-o", "json")
    assert done.returncode == 0, done.stderr
    if before["moves"]:
        state = json.loads(done.stdout)
        assert (state["phase"], state["moving"]) == ("ended", 0)
    after = json.loads(fog(system, "rebalance", "--min-gain", "1", "-o", "json").stdout)
    assert after["moves"] == []
    assert after["worth_before"] == before["worth_after"]
    for one in made:
        assert fog(system, "delete", one.stdout.strip(), "-y", "--wait").returncode == 0
