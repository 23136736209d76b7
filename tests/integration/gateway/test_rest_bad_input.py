"""Bad input over REST: what the answer says, and that it is never a 422 or a 500."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import jwt
import pytest

from tests.support.rest_face import SECRET, RestFace, deploy_body, rest_face

DEPLOY = "/api/deployment/deploy"
TYPE_ERROR = "Invalid type. Must be one of: ['compute', 'storage', 'gateway', 'mixnode']"


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as face:
        yield face


async def _refused(face: RestFace, body: Any, status: int = 400) -> str:
    async with face.client() as client:
        answer = await client.post(DEPLOY, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"detail"}
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert len(detail) < 2000
    return detail


@pytest.mark.parametrize("given", ["web", "COMPUTE", "", 5, None, 1, True, ["compute"], "x" * 9999])
async def test_an_unknown_type_in_the_documented_words(face: RestFace, given: Any) -> None:
    assert await _refused(face, {**deploy_body(), "type": given}) == TYPE_ERROR


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, ["name", "1 to 100", "0"]),
        ({"name": "x" * 101}, ["name", "1 to 100", "101"]),
        ({"name": "x" * 10_000}, ["name", "1 to 100", "10000"]),
        ({"name": 5}, ["name", "string", "1 to 100", "got 5"]),
        ({"name": "a\0b"}, ["name", "printable"]),
        ({"name": "a\nb"}, ["name", "printable"]),
        ({"container_image": ""}, ["container_image", "1 to 512"]),
        ({"container_image": "ngi nx"}, ["container_image", "no space"]),
        ({"replicas": 0}, ["replicas", "1", "10", "got 0"]),
        ({"replicas": 11}, ["replicas", "1", "10", "got 11"]),
        ({"replicas": -1}, ["replicas", "got -1"]),
        ({"replicas": "3"}, ["replicas", "integer", "1", "10", 'got "3"']),
        ({"replicas": 3.0}, ["replicas", "integer", "got 3.0"]),
        ({"replicas": True}, ["replicas", "integer", "got true"]),
        ({"replicas": 10**30}, ["replicas", "1", "10"]),
        ({"cpu": 0.4}, ["resources.cpu", "0.5", "16", "got 0.4"]),
        ({"cpu": 16.5}, ["resources.cpu", "0.5", "16", "got 16.5"]),
        ({"cpu": "2"}, ["resources.cpu", "number", "0.5", "16", 'got "2"']),
        ({"cpu": True}, ["resources.cpu", "number", "got true"]),
        ({"memory": 511}, ["resources.memory", "512", "16384", "got 511"]),
        ({"memory": 16385}, ["resources.memory", "512", "16384", "got 16385"]),
        ({"memory": 2048.5}, ["resources.memory", "integer", "got 2048.5"]),
        ({"gpu": 9}, ["resources.gpu", "0", "8", "got 9"]),
        ({"gpu": -1}, ["resources.gpu", "0", "8", "got -1"]),
        ({"gpu": 0.5}, ["resources.gpu", "integer", "got 0.5"]),
        ({"storage": 0}, ["resources.storage", "1", "1000", "got 0"]),
        ({"storage": 1001}, ["resources.storage", "1", "1000", "got 1001"]),
        ({"resources": []}, ["resources", "object", "got []"]),
        ({"env": {"A": 1}}, ["env.A", "string"]),
        ({"env": {"": "1"}}, ["env"]),
        ({"env": {"A=B": "1"}}, ["env"]),
        ({"env": {"A": "x" * 100_000}}, ["env", "65536"]),
        ({"env": []}, ["env", "object"]),
        ({"region": "us east"}, ["region", "us east"]),
        ({"region": 5}, ["region", "string", "got 5"]),
        ({"priority": 101}, ["priority", "0 to 100", "101"]),
        ({"priority": "urgent"}, ["priority", "high", "urgent"]),
        ({"priority": 1.5}, ["priority", "0 to 100", "1.5"]),
        ({"priority": True}, ["priority", "true"]),
        ({"cluster_id": -1}, ["cluster_id", "-1"]),
        ({"strategy": "magic"}, ["strategy", "balanced", "magic"]),
        ({"wait_for_capacity": "yes"}, ["wait_for_capacity", "true or false", "yes"]),
        ({"restart": "sometimes"}, ["restart", "always", "on-failure", "never", "sometimes"]),
        ({"constraints": [{"attribute": "x", "operator": "in"}]}, ["constraints[0].attribute"]),
        (
            {"constraints": [{"attribute": "arch", "operator": "like", "values": []}]},
            ["constraints[0].operator", "equal", "like"],
        ),
        ({"constraints": [{"operator": "in"}]}, ["constraints[0].attribute", "required"]),
        ({"disconnect": {"replace": "no"}}, ["disconnect.replace", "no"]),
        ({"disconnect": {"lost_after_ms": -1}}, ["disconnect.lost_after_ms", "100", "-1"]),
        ({"disconnect": {"stop_on_client_after_ms": 30_000}}, ["lost_after_ms 30000", "30000"]),
        ({"labels": {"a": None}}, ["labels.a", "string", "null"]),
        ({"request_id": "x" * 129}, ["request_id", "128"]),
        ({"colour": "red"}, ["colour", "allowed", "container_image", "priority"]),
        ({"affinity": {}}, ["affinity", "not supported yet"]),
        ({"gpu_share": 1}, ["gpu_share", "not supported yet"]),
        ({"ports": []}, ["ports", "not supported yet"]),
        ({"probes": []}, ["probes", "not supported yet"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
async def test_the_answer_names_field_bounds_and_value(
    face: RestFace, changes: dict[str, Any], words: list[str]
) -> None:
    body = deploy_body()
    for name, value in changes.items():
        (body["resources"] if name in body["resources"] else body)[name] = value
    detail = await _refused(face, body)
    for word in words:
        assert word in detail
    assert face.fold.fleet.facts.deployments == {}


async def test_an_unknown_cluster_is_not_found(face: RestFace) -> None:
    assert await _refused(face, deploy_body(cluster_id=77), 404) == "Cluster not found"


@pytest.mark.parametrize("field", ["name", "type", "container_image", "replicas", "resources"])
async def test_a_missing_field_is_named(face: RestFace, field: str) -> None:
    body = deploy_body()
    del body[field]
    detail = await _refused(face, body)
    assert detail.startswith(f"{field}: is required")


async def test_missing_resources_are_named(face: RestFace) -> None:
    detail = await _refused(face, deploy_body(cpu=None, memory=None))
    assert "resources.cpu: is required and must be a number between 0.5 and 16" in detail
    assert "resources.memory: is required and must be an integer between 512 and 16384" in detail


async def test_environment_values_are_not_repeated(face: RestFace) -> None:
    detail = await _refused(face, deploy_body(env={"KEY": ["hunter2"]}))
    assert detail == "env.KEY: must be a string, got an array"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"name": }',
        b"\xff\xfe",
        b'{"name": "\xff"}',
        b'"\\ud800"',
        b"[" * 500,
        b'{"a":' * 500,
        b'{"name": NaN',
        b"null x",
    ],
)
async def test_malformed_json(face: RestFace, content: bytes) -> None:
    async with face.client() as client:
        answer = await client.post(
            DEPLOY, content=content, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("body: must be valid JSON")


@pytest.mark.parametrize("content", [b"[]", b"null", b"5", b'"text"', b"true"])
async def test_a_body_that_is_no_object(face: RestFace, content: bytes) -> None:
    async with face.client() as client:
        answer = await client.post(
            DEPLOY, content=content, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"body: must be an object, got {content.decode()}"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/json; charset=latin-1",
        "",
        "x",
    ],
)
async def test_other_content_types(face: RestFace, content_type: str) -> None:
    async with face.client() as client:
        answer = await client.post(
            DEPLOY,
            content=json.dumps(deploy_body()).encode(),
            headers={"Content-Type": content_type},
        )
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Content-Type: must ")


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=UTF-8", "application/x+json"]
)
async def test_json_content_types(face: RestFace, content_type: str) -> None:
    async with face.client() as client:
        answer = await client.post(
            DEPLOY,
            content=json.dumps(deploy_body()).encode(),
            headers={"Content-Type": content_type},
        )
    assert answer.status_code == 202


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_of_5_mb(face: RestFace, chunked: bool) -> None:
    data = json.dumps(deploy_body(name="x" * 5_000_000)).encode()
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for start in range(0, len(data), 65536):
            sent += 65536
            yield data[start : start + 65536]

    async with face.client() as client:
        answer = await client.post(
            DEPLOY,
            content=pieces() if chunked else data,
            headers={"Content-Type": "application/json"},
        )
    assert answer.status_code == 413
    assert answer.json()["detail"].startswith("body: must be at most 1048576 bytes, got ")
    assert sent < 2 * 1024 * 1024


async def test_a_body_just_below_the_limit_is_read(face: RestFace) -> None:
    body = json.dumps(deploy_body()).encode().ljust(1024 * 1024)
    async with face.client() as client:
        answer = await client.post(
            DEPLOY, content=body, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 202


@pytest.mark.parametrize("given", ["x", "1", "%00", "..", "a1b2c3d4-e5f6-7890-abcd-ef12345678"])
async def test_a_bad_id_in_the_path(face: RestFace, given: str) -> None:
    async with face.client() as client:
        answers = [
            await client.get(f"/api/deployment/status/{given}"),
            await client.post(f"/api/deployment/scale/{given}", json={"replicas": 2}),
        ]
    for answer in answers:
        if given == "..":
            assert answer.status_code in {404, 405}
            continue
        assert answer.status_code == 400, answer.text
        assert answer.json()["detail"].startswith("deployment_id: must be a valid UUID")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", ['limit: must be an integer between 1 and 100, got "0"']),
        ("limit=101", ['limit: must be an integer between 1 and 100, got "101"']),
        ("limit=ten", ['limit: must be an integer between 1 and 100, got "ten"']),
        ("limit=1.0", ['limit: must be an integer between 1 and 100, got "1.0"']),
        ("limit=1_0", ["limit: must be an integer", "1_0"]),
        ("limit=%2B1", ["limit: must be an integer", "+1"]),
        ("offset=%200", ["offset: must be an integer", '" 0"']),
        ("offset=-1", ["offset", "0", "-1"]),
        ("offset=" + "9" * 30, ["offset"]),
        ("sort_by=owner", ["sort_by", "created_at", "owner"]),
        ("sort_order=up", ["sort_order", "asc", "up"]),
        ("status=broken", ["status", "running", "broken"]),
        ("created_after=yesterday", ["created_after: must be a time such as", "yesterday"]),
        ("created_before=0.0", ["created_before: must be a time such as", "0.0"]),
        ("name=%00", ["name", "printable"]),
        ("name=" + "x" * 101, ["name", "100"]),
        ("colour=red", ["colour", "not a known parameter"]),
    ],
)
async def test_bad_queries(face: RestFace, query: str, words: list[str]) -> None:
    async with face.client() as client:
        answer = await client.get(f"/api/deployment/list?{query}")
    assert answer.status_code == 400, answer.text
    for word in words:
        assert word in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/orgs/all?offset=0.0", "offset"),
        ("/api/orgs/1.0/members", "organization_id"),
        ("/api/clusters/1.0/status", "cluster_id"),
        ("/api/deployments?cluster_id=1.0", "cluster_id"),
        ("/cluster/nodes?limit=1.0", "limit"),
        ("/cluster/state?nodes=yes", "nodes"),
        ("/cluster/state?nodes=1", "nodes"),
    ],
)
async def test_numbers_and_switches_are_written_as_documented(
    face: RestFace, path: str, field: str
) -> None:
    async with face.client() as client:
        answer = await client.get(path)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith(f"{field}: must be ")


async def test_a_plan_refuses_what_a_deployment_would_be_refused_for(face: RestFace) -> None:
    body = {**deploy_body(), "request_id": "x" * 10_000}
    async with face.client() as client:
        deployed = await client.post(DEPLOY, json=body)
        planned = await client.post("/api/deployment/plan", json=body)
    assert (planned.status_code, planned.json()) == (400, deployed.json())


@pytest.mark.parametrize("replicas", [0, 11, "3", None, 1.5])
async def test_bad_scales(face: RestFace, replicas: Any) -> None:
    async with face.client() as client:
        answer = await client.post(f"/api/deployment/scale/{uuid4()}", json={"replicas": replicas})
    assert answer.status_code == 400
    for word in ("replicas", "between 1 and 10", "got"):
        assert word in answer.json()["detail"]


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _bad_tokens() -> dict[str, str]:
    now_s = int(time.time())
    claims = {
        "iss": "fogbank",
        "aud": "fogbank",
        "sub": str(uuid4()),
        "role": "admin",
        "iat": now_s,
        "exp": now_s + 600,
    }
    good = jwt.encode(claims, SECRET, "HS256")
    return {
        "none": "",
        "no scheme": good,
        "another scheme": f"Basic {good}",
        "empty": "Bearer ",
        "garbage": "Bearer garbage",
        "alg none": f"Bearer {_segment({'alg': 'none', 'typ': 'JWT'})}.{_segment(claims)}.",
        "wrong key": f"Bearer {jwt.encode(claims, SECRET[::-1], 'HS256')}",
        "expired": f"Bearer {jwt.encode({**claims, 'exp': now_s - 60}, SECRET, 'HS256')}",
        "cut short": f"Bearer {good[:-2]}",
        "another audience": f"Bearer {jwt.encode({**claims, 'aud': 'x'}, SECRET, 'HS256')}",
    }


@pytest.mark.parametrize("kind", list(_bad_tokens()))
async def test_bad_tokens_are_not_authenticated(face: RestFace, kind: str) -> None:
    token = _bad_tokens()[kind]
    headers = {"Authorization": token} if token else {}
    deployment_id = uuid4()
    async with face.client(None) as client:
        for method, path in [
            ("POST", DEPLOY),
            ("GET", f"/api/deployment/status/{deployment_id}"),
            ("GET", "/api/deployment/list"),
            ("POST", f"/api/deployment/scale/{deployment_id}"),
            ("DELETE", f"/api/deployment/{deployment_id}"),
            ("POST", "/api/deployment/plan"),
            ("GET", f"/api/deployment/explain/{deployment_id}"),
            ("GET", "/api/orchestration/services"),
            ("GET", "/cluster/state"),
            ("GET", "/cluster/nodes"),
            ("GET", "/cluster/nodes/a"),
            ("GET", "/api/events"),
            ("POST", "/model/save"),
        ]:
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.json() == {"detail": "Not authenticated"}
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_unknown_routes_and_methods(face: RestFace) -> None:
    async with face.client() as client:
        for path in ("/api/orgs/nothing", "/api/nothing", "/nothing"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
        answer = await client.get(DEPLOY)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
        for method, path in [
            ("POST", "/training/trigger"),
            ("POST", "/model/save"),
            ("POST", "/model/load"),
        ]:
            answer = await client.request(method, path)
            assert answer.status_code == 501
            assert "yet" in answer.json()["detail"]


async def test_problem_json_for_those_who_ask(face: RestFace) -> None:
    async with face.client() as client:
        answer = await client.post(
            DEPLOY,
            json=deploy_body(replicas=11),
            headers={"Accept": "application/problem+json, application/json;q=0.5"},
        )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["title"], body["status"]) == ("about:blank", "Bad Request", 400)
    assert body["reason"] == "INVALID_ARGUMENT"
    assert body["errors"][0]["field"] == "replicas"


async def test_what_nobody_foresaw_tells_nothing(
    face: RestFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_arguments: object) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(type(face.ledger), "deployments", broken)
    async with face.client() as client:
        answer = await client.get("/api/deployment/list")
    assert answer.status_code == 500
    assert answer.json() == {"detail": "Internal server error"}
