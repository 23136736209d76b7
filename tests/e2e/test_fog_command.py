"""`fog` against a whole system: what it prints and how it ends."""

import json
from pathlib import Path

import pytest

from tests.support.fog_up import FogUp, fog
from tests.support.grpc_user import GrpcUser

pytestmark = pytest.mark.xdist_group("fog-up")


def test_scale_and_delete(system: FogUp, admin: GrpcUser) -> None:
    deployed = fog(
        system, "deploy", "scaled", "--image", "x:1", "--wait", "-o", "json", "--cpu", "0.5"
    )
    assert deployed.returncode == 0, deployed.stderr
    deployment_id = json.loads(deployed.stdout)["id"]
    up = fog(system, "scale", "scaled", "3", "--wait")
    assert up.returncode == 0, up.stderr
    assert len([one for one in admin.get(deployment_id).replicas if one.node_id]) == 3
    down = fog(system, "scale", deployment_id, "1", "--wait")
    assert down.returncode == 0, down.stderr
    gone = fog(system, "delete", "scaled", "-y", "--wait")
    assert gone.returncode == 0, gone.stderr
    assert deployment_id not in fog(system, "ps", "-o", "name").stdout
    assert deployment_id in fog(system, "ps", "--all", "-o", "name").stdout


def test_a_failed_placement_ends_with_2_and_says_why(system: FogUp) -> None:
    result = fog(system, "deploy", "wide", "--image", "x", "--replicas", "9", "--wait")
    assert result.returncode == 2
    assert "wide: Insufficient nodes: need 9, found 8 with capacity" in result.stderr
    assert fog(system, "delete", "wide", "-y").returncode == 0


def test_a_refused_field_is_named_with_bounds_and_value(system: FogUp) -> None:
    result = fog(system, "deploy", "bad", "--image", "x", "--replicas", "1001")
    assert result.returncode == 1
    assert "replicas: must be between 1 and 1000, got 1001" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_name_that_two_share_is_not_guessed(system: FogUp) -> None:
    made = ("deploy", "twin", "--image", "x", "--wait", "-o", "name")
    first = fog(system, *made)
    refused = fog(system, *made)
    assert refused.returncode == 1
    assert f"twin ({first.stdout.strip()}) is deployed already" in refused.stderr
    ids = [each.stdout.strip() for each in (first, fog(system, *made, "--another"))]
    result = fog(system, "status", "twin")
    assert result.returncode == 1
    assert all(deployment_id in result.stderr for deployment_id in ids)
    for deployment_id in ids:
        assert fog(system, "delete", deployment_id, "-y", "--wait").returncode == 0


def test_the_same_request_id_deploys_once(system: FogUp) -> None:
    command = ("deploy", "once", "--image", "x", "--request-id", "one-and-only", "-o", "name")
    first, second = fog(system, *command), fog(system, *command)
    assert first.stdout == second.stdout != ""
    other = fog(system, "deploy", "other", "--image", "x", "--request-id", "one-and-only")
    assert other.returncode == 1
    assert fog(system, "delete", "once", "-y", "--wait").returncode == 0


def test_a_drained_node_is_emptied_and_takes_replicas_again(system: FogUp, admin: GrpcUser) -> None:
    made = fog(system, "deploy", "moved", "--image", "x", "--replicas", "2", "--wait", "-o", "name")
    deployment_id = made.stdout.strip()
    name = admin.get(deployment_id).replicas[0].node_name
    there = json.loads(fog(system, "nodes", "show", name, "-o", "json").stdout)
    assert [each["deployment"] for each in there["placed_replicas"]] == ["moved"]
    assert fog(system, "ps", "--node", there["id"][:8], "-o", "name").stdout == made.stdout
    try:
        drained = fog(system, "nodes", "drain", name, "--deadline", "5m", "--wait", "-o", "json")
        assert drained.returncode == 0, drained.stderr
        node = json.loads(drained.stdout)
        assert (node["status"], node["replicas"]) == ("maintenance", 0)
        assert node["drain_deadline"]
        replicas = admin.get(deployment_id).replicas
        assert name not in {replica.node_name for replica in replicas}
        assert admin.get(deployment_id).running_replicas == 2
        refused = fog(system, "nodes", "remove", replicas[0].node_name, "-y")
        assert refused.returncode == 1
        assert "drain it first, or use force" in refused.stderr
    finally:
        again = fog(system, "nodes", "uncordon", name)
        assert fog(system, "delete", deployment_id, "-y", "--wait").returncode == 0
    assert "takes replicas again" in again.stdout


def test_users_see_their_own_only(system: FogUp) -> None:
    made = fog(system, "deploy", "mine", "--image", "x", "-o", "name").stdout.strip()
    password = "secret-enough\n"
    registered = fog(system, "register", "-u", "carol", "--password-stdin", input_text=password)
    assert registered.returncode == 0, registered.stderr
    signed_in = fog(system, "login", "-u", "carol", "--password-stdin", input_text=password)
    assert signed_in.returncode == 0, signed_in.stderr
    try:
        stored = system.data_dir.parent / "config" / "fogbank" / "config.json"
        assert stored.stat().st_mode & 0o777 == 0o600
        assert fog(system, "ps", "-o", "json").stdout.strip() == "[]"
        assert "Deployment not found" in fog(system, "status", made).stderr
        assert fog(system, "ps", "--all-owners").returncode == 1
        kept = json.loads(stored.read_text())
    finally:
        signed_out = fog(system, "logout")
    assert signed_out.stdout == "signed out\n", signed_out.stderr
    stored.write_text(json.dumps(kept))
    ended = fog(system, "ps")
    assert (ended.returncode, "fog login" in ended.stderr) == (1, True)
    assert fog(system, "logout").returncode == 0
    assert fog(system, "logout").stdout == "nobody was signed in\n"
    assert fog(system, "delete", made, "-y", "--wait").returncode == 0


def test_events_are_the_log_in_order(system: FogUp) -> None:
    result = fog(system, "events", "-o", "json")
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    positions = [(event["sequence"], event["index"]) for event in events]
    assert positions == sorted(positions)
    assert positions[0] == (1, 0)
    after = fog(system, "events", "--after", str(positions[-1][0] - 1), "-o", "json")
    assert json.loads(after.stdout.splitlines()[0])["sequence"] == positions[-1][0]


def test_the_log_is_verified_and_a_commit_proved(system: FogUp, tmp_path: Path) -> None:
    verified = fog(system, "audit", "verify", "-o", "json")
    assert verified.returncode == 0, verified.stderr
    found = json.loads(verified.stdout)
    assert found["clean"]
    assert found["checked"] == found["total"] > 0
    proved = fog(system, "audit", "prove", "2")
    assert proved.returncode == 0, proved.stderr
    keys = fog(system, "audit", "checkpoint", "--keys").stdout.strip()
    assert keys.startswith("fogbank/default+")
    assert fog(system, "audit", "checkpoint").stdout.startswith("fogbank/default\n")
    proof = tmp_path / "proof.json"
    proof.write_text(proved.stdout)
    offline = ("audit", "verify", "--file", str(proof), "--key", keys)
    held = fog(system, *offline)
    assert held.returncode == 0, held.stderr
    assert "it is in the log" in held.stdout
    proof.write_text(proved.stdout.replace('"sequence": 2', '"sequence": 3'))
    forged = fog(system, *offline)
    assert forged.returncode == 1
    assert "the proof does not hold" in forged.stderr
    proof.write_text("{}")
    assert "is no proof" in fog(system, *offline).stderr
    assert "go together" in fog(system, *offline[:4]).stderr


def test_logs_of_a_service(system: FogUp) -> None:
    assert "scheduler-1" in fog(system, "logs").stdout.splitlines()
    assert "Scheduler worker started" in fog(system, "logs", "scheduler", "-n", "9999").stdout
