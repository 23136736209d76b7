"""Organizations and clusters over REST: shapes, who sees what, and what is refused."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.gateway.app.principal import Role
from tests.support.rest_face import RestFace, deploy_body, rest_face

CLUSTER = {
    "name": "cluster_high",
    "organization_id": 2,
    "total_cpu": 80000,
    "total_ram": 16384,
    "total_gpu": 2000,
}


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as face:
        yield face


async def call(
    face: RestFace, who: str, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """Return the status and body of an answer; `admin` is one, whoever has that name."""
    role = Role.ADMIN if who == "admin" else Role.USER
    async with face.client(who, role) as client:
        answer = await client.request(method, path, json=body, headers=headers)
    return answer.status_code, answer.json() if answer.content else None


@pytest.fixture
async def ours(face: RestFace) -> Any:
    """Alice's organization 2 with its cluster 2."""
    status, made = await call(face, "alice", "POST", "/api/orgs/create", {"name": "org1"})
    assert status == 201
    assert (await call(face, "alice", "POST", "/api/clusters", CLUSTER))[0] == 201
    return made


async def test_an_organization_in_the_documented_shape(face: RestFace, ours: Any) -> None:
    code = ours["invite_code"]
    assert ours == {"id": 2, "name": "org1", "role": "owner", "invite_code": code}
    assert code
    everybodys = {"id": 1, "name": "default"}
    theirs = (200, [everybodys | {"role": "operator"}, {"id": 2, "name": "org1"}])
    assert await call(face, "bob", "GET", "/api/orgs/all") == theirs
    mine = [everybodys | {"role": "operator"}, ours]
    assert await call(face, "alice", "GET", "/api/orgs/my") == (200, mine)
    joined = await call(face, "bob", "POST", "/api/orgs/join", {"invite_code": code})
    assert joined == (200, {"id": 2, "name": "org1", "role": "operator"})
    async with face.client("bob") as client:
        answer = await client.get("/api/orgs/all?limit=1&offset=1")
    assert (answer.headers["x-total-count"], len(answer.json())) == ("2", 1)
    assert answer.headers["cache-control"] == "no-store"


async def test_members_roles_and_codes(face: RestFace, ours: Any) -> None:
    await call(face, "bob", "POST", "/api/orgs/join", {"invite_code": ours["invite_code"]})
    status, listed = await call(face, "bob", "GET", "/api/orgs/2/members")
    assert (status, [each["role"] for each in listed]) == (200, ["owner", "operator"])
    bob = listed[1]["user_id"]
    demoted = await call(face, "alice", "PUT", f"/api/orgs/2/members/{bob}", {"role": "viewer"})
    assert demoted == (200, {"user_id": bob, "username": None, "role": "viewer"})
    assert (await call(face, "bob", "GET", "/api/orgs/2/invite"))[0] == 403
    limits = {"expires_in_seconds": 60, "max_uses": 3, "role": "viewer"}
    status, renewed = await call(face, "alice", "POST", "/api/orgs/2/invite", limits)
    assert (status, renewed["role"], renewed["max_uses"], renewed["uses"]) == (200, "viewer", 3, 0)
    assert renewed["expires_at"].endswith("Z")
    assert await call(face, "alice", "GET", "/api/orgs/2/invite") == (200, renewed)
    assert await call(face, "alice", "DELETE", "/api/orgs/2/invite") == (204, None)
    _, revoked = await call(face, "alice", "GET", "/api/orgs/2/invite")
    assert revoked["invite_code"] is None
    assert await call(face, "alice", "DELETE", f"/api/orgs/2/members/{bob}") == (204, None)
    assert await call(face, "bob", "GET", "/api/orgs/2/members") == (
        404,
        {"detail": "Organization not found"},
    )


async def test_a_cluster_in_the_documented_shape(face: RestFace, ours: Any) -> None:
    edge = {"id": 2, **CLUSTER, "total_storage": None, "total_replicas": None}
    _, listed = await call(face, "alice", "GET", "/api/clusters")
    assert [each["id"] for each in listed] == [1, 2]
    assert listed[1] == edge
    status, found = await call(face, "alice", "GET", "/api/clusters/2/status")
    assert status == 200
    counts = dict.fromkeys(("pending", "scheduled", "running", "completed", "failed"), 0)
    assert found.pop("as_of_sequence") == face.fold.position
    assert found == edge | {
        "used_cpu": 0,
        "used_ram": 0,
        "used_gpu": 0,
        "used_storage": 0,
        "used_replicas": 0,
        "available_cpu": 80000,
        "available_ram": 16384,
        "available_gpu": 2000,
        "available_storage": None,
        "available_replicas": None,
        "deployments": counts,
    }
    quota = {"total_cpu": 500, "total_replicas": 0}
    status, changed = await call(face, "alice", "PUT", "/api/clusters/2/quota", quota)
    assert (status, changed["total_cpu"], changed["total_ram"]) == (200, 500, None)
    assert changed["total_replicas"] == 0


async def test_what_is_available_the_organization_has_to_have(face: RestFace, ours: Any) -> None:
    quota = {"total_cpu": 300, "total_storage": 7}
    status, changed = await call(face, "admin", "PUT", "/api/orgs/2/quota", quota)
    assert (status, changed["organization_id"], changed["total_cpu"]) == (200, 2, 300)
    assert await call(face, "alice", "GET", "/api/orgs/2/quota") == (200, changed)
    stranger = await call(face, "bob", "GET", "/api/orgs/2/quota")
    assert stranger == (404, {"detail": "Organization not found"})
    _, found = await call(face, "alice", "GET", "/api/clusters/2/status")
    assert (found["total_cpu"], found["available_cpu"]) == (80000, 300)
    assert (found["total_storage"], found["available_storage"]) == (None, 7)


async def test_strangers_and_viewers(face: RestFace, ours: Any) -> None:
    not_found = (404, {"detail": "Cluster not found"})
    for path in ("/api/clusters/2/status", "/api/clusters/2/deployments"):
        assert await call(face, "bob", "GET", path) == not_found
        assert (await call(face, "admin", "GET", path))[0] == 200
    assert await call(face, "bob", "PUT", "/api/clusters/2/quota", {}) == not_found
    unknown = await call(face, "bob", "POST", "/api/clusters", CLUSTER)
    assert unknown == (404, {"detail": "Organization not found"})
    _, invite = await call(face, "alice", "POST", "/api/orgs/2/invite", {"role": "viewer"})
    await call(face, "bob", "POST", "/api/orgs/join", {"invite_code": invite["invite_code"]})
    assert (await call(face, "bob", "GET", "/api/clusters/2/status"))[0] == 200
    for method, path, body in (
        ("POST", "/api/clusters", CLUSTER),
        ("PUT", "/api/clusters/2/quota", {}),
        ("POST", "/api/orgs/2/invite", {}),
        ("PUT", "/api/orgs/2/members/bob", {"role": "owner"}),
        ("PUT", "/api/orgs/2/quota", {}),
    ):
        assert (await call(face, "bob", method, path, body))[0] == 403, path
    deployed = await call(face, "bob", "POST", "/api/deployments", job(cluster_id=2))
    assert deployed[0] == 403


async def test_a_repeat_changes_nothing(face: RestFace, ours: Any) -> None:
    body = {"name": "again", "request_id": "r"}
    first = await call(face, "alice", "POST", "/api/orgs/create", body)
    assert await call(face, "alice", "POST", "/api/orgs/create", body) == first
    by_header = {"Idempotency-Key": "r"}
    again = await call(face, "alice", "POST", "/api/orgs/create", {"name": "again"}, **by_header)
    assert again == first
    clash = await call(face, "alice", "POST", "/api/orgs/create", body | {"name": "other"})
    assert clash[0] == 409
    cluster = CLUSTER | {"request_id": "c"}
    made = await call(face, "alice", "POST", "/api/clusters", cluster)
    assert await call(face, "alice", "POST", "/api/clusters", cluster) == made


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "/api/orgs/create", {}, ["name", "required"]),
        ("POST", "/api/orgs/create", {"name": ""}, ["name", "1 to 100"]),
        ("POST", "/api/orgs/create", {"name": 5}, ["name", "string", "got 5"]),
        ("POST", "/api/orgs/create", {"name": "x", "owner": 1}, ["owner", "allowed"]),
        ("POST", "/api/orgs/join", {}, ["invite_code", "required"]),
        ("POST", "/api/orgs/join", {"invite_code": 5}, ["invite_code", "a number"]),
        ("POST", "/api/orgs/join", {"invite_code": "x" * 65}, ["invite_code", "64"]),
        ("GET", "/api/orgs/all?limit=0", None, ["limit", "1", "1000", "0"]),
        ("GET", "/api/orgs/all?page=1", None, ["page", "not a known parameter"]),
        ("GET", "/api/orgs/zero/members", None, ["organization_id", "integer", "zero"]),
        ("GET", "/api/orgs/0/members", None, ["organization_id", "1", "0"]),
        ("PUT", "/api/orgs/2/members/bob", {"role": "boss"}, ["role", "owner", "boss"]),
        ("POST", "/api/orgs/2/invite", {"max_uses": -1}, ["max_uses", "-1"]),
        ("POST", "/api/orgs/2/invite", {"expires_in_seconds": 0}, ["expires_in", "0 s"]),
        ("POST", "/api/orgs/2/invite", {"role": "owner"}, ["role", "operator"]),
        ("POST", "/api/clusters", CLUSTER | {"total_cpu": "1"}, ["total_cpu", "integer", '"1"']),
        ("POST", "/api/clusters", CLUSTER | {"total_cpu": 0}, ["total_cpu", "1", "got 0"]),
        ("POST", "/api/clusters", CLUSTER | {"total_ram": 1.5}, ["total_ram", "integer", "1.5"]),
        ("POST", "/api/clusters", CLUSTER | {"total_gpu": -1}, ["total_gpu", "0", "got -1"]),
        ("POST", "/api/clusters", CLUSTER | {"total_gpu": 10**30}, ["total_gpu"]),
        ("POST", "/api/clusters", CLUSTER | {"name": " x"}, ["name", "space"]),
        ("POST", "/api/clusters", {"name": "x"}, ["organization_id", "total_cpu", "required"]),
        ("GET", "/api/clusters/x/status", None, ["cluster_id", "integer"]),
        ("GET", "/api/clusters/1.5/deployments", None, ["cluster_id", "integer"]),
        ("PUT", "/api/clusters/2/quota", {"total_replicas": -1}, ["total_replicas", "-1"]),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_bad_input_is_named(
    face: RestFace, ours: Any, method: str, path: str, body: Any, words: list[str]
) -> None:
    status, answer = await call(face, "alice", method, path, body)
    assert (status, set(answer)) == (400, {"detail"})
    for word in words:
        assert word in answer["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/orgs/create"),
        ("GET", "/api/orgs/all"),
        ("GET", "/api/clusters"),
        ("GET", "/api/clusters/1/status"),
        ("POST", "/api/deployments"),
        ("GET", "/api/deployments?cluster_id=1"),
    ],
)
async def test_nobody_is_served_without_a_token(face: RestFace, method: str, path: str) -> None:
    async with face.client(None) as client:
        answer = await client.request(method, path, json={})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})


def job(**changes: Any) -> dict[str, Any]:
    """Return a good job with some fields changed; None takes a field away."""
    body = {
        "cluster_id": 1,
        "image": "nginx11",
        "required_cpu": 20,
        "required_ram": 10,
        "required_gpu": 2,
        "priority": "HIGH",
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


async def test_a_job_in_the_documented_shape(face: RestFace, ours: Any) -> None:
    async with face.client("alice") as client:
        answer = await client.post("/api/deployments", json=job(cluster_id=2))
        made = answer.json()
        assert answer.status_code == 202
        assert set(made) == {*job(), "id", "status", "degraded", "created_at"}
        assert made | job(cluster_id=2) == made
        assert made["status"] == "pending"
        assert answer.headers["location"] == f"/api/deployments/{made['id']}"
        shown = await client.get(answer.headers["location"])
        assert (shown.status_code, shown.json()) == (200, made)
        assert shown.headers["etag"] == answer.headers["etag"]
        for path in ("/api/deployments?cluster_id=2", "/api/clusters/2/deployments"):
            listed = await client.get(path)
            assert (listed.json(), listed.headers["x-total-count"]) == ([made], "1")
        assert (await client.get("/api/deployments?cluster_id=1")).json() == []
    spec = face.fold.fleet.facts.deployments[made["id"]].spec
    assert (spec.name, spec.replicas, spec.priority) == ("nginx11", 1, 80)
    assert spec.resources.storage_gib == 0


async def test_members_see_a_clusters_deployments_and_list_their_own(
    face: RestFace, ours: Any
) -> None:
    await call(face, "bob", "POST", "/api/orgs/join", {"invite_code": ours["invite_code"]})
    _, hers = await call(face, "alice", "POST", "/api/deployments", job(cluster_id=2))
    _, his = await call(face, "bob", "POST", "/api/deployments", job(cluster_id=2))
    _, seen = await call(face, "bob", "GET", "/api/clusters/2/deployments")
    assert {each["id"] for each in seen} == {hers["id"], his["id"]}
    assert await call(face, "bob", "GET", "/api/deployments?cluster_id=2") == (200, [his])
    not_found = (404, {"detail": "Deployment not found"})
    path = f"/api/deployments/{hers['id']}"
    assert await call(face, "bob", "GET", path) == not_found
    assert await call(face, "bob", "POST", path, {"required_cpu": 1}) == not_found
    stranger = await call(face, "carol", "GET", "/api/deployments?cluster_id=2")
    assert stranger == (404, {"detail": "Cluster not found"})


async def test_in_the_cluster_of_everybody_each_sees_their_own_and_administrators_all(
    face: RestFace,
) -> None:
    _, hers = await call(face, "alice", "POST", "/api/deployments", job())
    _, his = await call(face, "bob", "POST", "/api/deployments", job())
    for user, seen in (
        ("alice", {hers["id"]}),
        ("bob", {his["id"]}),
        ("carol", set()),
        ("admin", {hers["id"], his["id"]}),
    ):
        _, listed = await call(face, user, "GET", "/api/clusters/1/deployments")
        assert {each["id"] for each in listed} == seen


async def test_a_job_changes_in_part(face: RestFace) -> None:
    _, made = await call(face, "bob", "POST", "/api/deployments", job())
    path = f"/api/deployments/{made['id']}"
    status, changed = await call(face, "bob", "POST", path, {"required_cpu": 40})
    assert (status, changed) == (200, made | {"required_cpu": 40})
    later = {"image": "r.example/a/web:2", "priority": "LOW", "cluster_id": 1, "request_id": "u"}
    status, changed = await call(face, "bob", "POST", path, later)
    assert status == 200
    assert (changed["image"], changed["priority"]) == ("r.example/a/web:2", "LOW")
    version = face.fold.fleet.facts.deployments[made["id"]].version
    assert await call(face, "bob", "POST", path, later) == (200, changed), "a repeat"
    assert face.fold.fleet.facts.deployments[made["id"]].version == version
    stale = await call(face, "bob", "POST", path, {"required_cpu": 1}, **{"If-Match": '"2"'})
    assert stale[0] == 412


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cluster_id": None}, ["cluster_id", "required"]),
        ({"cluster_id": "1"}, ["cluster_id", "integer"]),
        ({"image": ""}, ["image", "1 to 512"]),
        ({"image": "a b"}, ["image", "no space"]),
        ({"required_cpu": 0}, ["required_cpu", "1", "got 0"]),
        ({"required_cpu": "20"}, ["required_cpu", "integer", '"20"']),
        ({"required_ram": 0}, ["required_ram", "1", "got 0"]),
        ({"required_ram": 16385}, ["required_ram", "16384", "got 16385"]),
        ({"required_gpu": -1}, ["required_gpu", "0", "got -1"]),
        ({"required_gpu": 2001}, ["required_gpu", "2000", "got 2001"]),
        ({"priority": None}, ["priority", "required"]),
        ({"priority": "MEDIUM"}, ["priority", "HIGH", "LOW", "MEDIUM"]),
        ({"priority": 5}, ["priority", "HIGH", "got 5"]),
        ({"replicas": 2}, ["replicas", "allowed"]),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_bad_job_is_named(
    face: RestFace, ours: Any, changes: dict[str, Any], words: list[str]
) -> None:
    body = job(**({"cluster_id": 2} | changes))
    status, answer = await call(face, "alice", "POST", "/api/deployments", body)
    assert (status, set(answer)) == (400, {"detail"})
    for word in words:
        assert word in answer["detail"]
    assert face.fold.fleet.facts.deployments == {}


async def test_a_bad_change_is_named(face: RestFace, ours: Any) -> None:
    _, made = await call(face, "alice", "POST", "/api/deployments", job(cluster_id=2))
    path = f"/api/deployments/{made['id']}"
    for body, word in (
        ({}, "must name what to change"),
        ({"request_id": "x"}, "must name what to change"),
        ({"required_ram": 16385}, "required_ram"),
        ({"required_cpu": True}, "required_cpu"),
        ({"priority": "medium"}, "priority"),
        ({"image": "a b"}, "image"),
        ({"cluster_id": 0}, "cluster_id: must be between 1"),
    ):
        status, answer = await call(face, "alice", "POST", path, body)
        assert (status, word in answer["detail"]) == (400, True), answer
    stale = {"If-Match": "no-such"}
    both = await call(face, "alice", "POST", path, {"image": ""}, **stale)
    assert both[0] == 400, "what is wrong in itself comes first"
    assert (await call(face, "alice", "GET", "/api/deployments"))[0] == 400
    assert (await call(face, "alice", "GET", "/api/deployments/x"))[0] == 400
    unknown = "/api/deployments/0b7a3b58-7a53-4f5e-9d0c-5d3a3f0c8a11"
    assert (await call(face, "alice", "GET", unknown))[0] == 404


async def test_a_job_moves_with_rights_in_both_clusters(face: RestFace, ours: Any) -> None:
    other = CLUSTER | {"name": "small", "total_cpu": 100}
    assert (await call(face, "alice", "POST", "/api/clusters", other))[0] == 201
    _, made = await call(face, "alice", "POST", "/api/deployments", job(cluster_id=2))
    path = f"/api/deployments/{made['id']}"
    too_large = await call(face, "alice", "POST", path, {"cluster_id": 3, "required_cpu": 101})
    assert (too_large[0], "required_cpu" in too_large[1]["detail"]) == (400, True)
    assert await call(face, "alice", "POST", path, {"cluster_id": 99}) == (
        404,
        {"detail": "Cluster not found"},
    )
    status, moved = await call(face, "alice", "POST", path, {"cluster_id": 3, "required_cpu": 90})
    assert (status, moved["cluster_id"], moved["required_cpu"]) == (200, 3, 90)
    assert (await call(face, "alice", "GET", path))[1]["cluster_id"] == 3
    listed = {}
    for number in (2, 3):
        _, listed[number] = await call(
            face, "alice", "GET", f"/api/deployments?cluster_id={number}"
        )
    assert [[each["id"] for each in listed[number]] for number in (2, 3)] == [[], [made["id"]]]

    # Eve may deploy in the fleet's own cluster, and is a stranger here.
    _, hers = await call(face, "eve", "POST", "/api/deployments", job(cluster_id=1))
    elsewhere = f"/api/deployments/{hers['id']}"
    assert (await call(face, "eve", "POST", elsewhere, {"cluster_id": 3}))[0] == 404
    _, large = await call(face, "eve", "POST", "/api/deployment/deploy", deploy_body())
    update = f"/api/deployment/update/{large['deployment_id']}"
    assert (await call(face, "eve", "POST", update, {"cluster_id": 3}))[0] == 404
    # A viewer there may look, and not move anything in.
    await call(face, "eve", "POST", "/api/orgs/join", {"invite_code": ours["invite_code"]})
    _, members = await call(face, "alice", "GET", "/api/orgs/2/members")
    (eve,) = [each["user_id"] for each in members if each["role"] == "operator"]
    await call(face, "alice", "PUT", f"/api/orgs/2/members/{eve}", {"role": "viewer"})
    assert (await call(face, "eve", "POST", elsewhere, {"cluster_id": 3}))[0] == 403
    await call(face, "alice", "PUT", f"/api/orgs/2/members/{eve}", {"role": "operator"})
    assert (await call(face, "eve", "POST", update, {"cluster_id": 3}))[0] == 202
    # Going back to the revision before moves it back.
    rollback = f"/api/deployment/rollback/{made['id']}"
    back = await call(face, "alice", "POST", rollback)
    assert back[0] == 202
    assert (await call(face, "alice", "GET", path))[1]["cluster_id"] == 2


async def test_tokens_are_listed_in_parts(face: RestFace, ours: Any) -> None:
    path = "/api/orgs/2/tokens"
    for name in ("one", "two", "three"):
        body = {"name": name, "scopes": ["read"]}
        assert (await call(face, "alice", "POST", path, body))[0] == 201
    async with face.client("alice") as client:
        whole = await client.get(path)
        part = await client.get(f"{path}?limit=1&offset=1")
    assert part.json() == whole.json()[1:2]
    assert whole.headers["x-total-count"] == part.headers["x-total-count"] == "3"
