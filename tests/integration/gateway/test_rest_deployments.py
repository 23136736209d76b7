"""Deployments over REST, as the quick start guide shows them."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from fogbank.domain.deployment import DisconnectRules
from fogbank.domain.policy import Policy
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusChange
from fogbank.log.memory import MemoryLog
from fogbank.log.port import Writer
from services.gateway.app.principal import Role
from services.gateway.http_api.rendering import change_of_status, live_change
from tests.support.rest_face import RestFace, deploy_body, rest_face
from tests.support.schedulers import running_scheduler
from tests.support.waiting import eventually

QUEUED = "Deployment queued for scheduling. Use /status/{deployment_id} to track progress."


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as face:
        yield face


async def _deploy(face: RestFace, user: str = "bob", **changes: Any) -> str:
    async with face.client(user) as client:
        answer = await client.post("/api/deployment/deploy", json=deploy_body(**changes))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["deployment_id"])


async def test_deploy_answers_202_as_documented(face: RestFace) -> None:
    async with face.client() as client:
        answer = await client.post("/api/deployment/deploy", json=deploy_body())
    body = answer.json()
    assert answer.status_code == 202
    assert body == {
        "success": True,
        "deployment_id": str(UUID(body["deployment_id"])),
        "status": "pending",
        "replicas": 3,
        "message": QUEUED,
    }
    assert answer.headers["location"] == f"/api/deployment/status/{body['deployment_id']}"


async def test_status_as_documented(face: RestFace) -> None:
    deployment_id = await _deploy(face, env={"SECRET": "hunter2hunter2"})
    async with face.client() as client:
        answer = await client.get(f"/api/deployment/status/{deployment_id}")
    body = answer.json()
    assert answer.status_code == 200
    assert "hunter2" not in answer.text
    assert body["resources"] == {
        "cpu_cores": 2.0,
        "memory_mb": 2048,
        "gpu_units": 0,
        "storage_gb": 20,
    }
    assert (body["name"], body["status"], body["health"]) == ("web-api", "pending", "unknown")
    assert [set(replica) for replica in body["replicas"]] == [
        {"id", "node_id", "status", "container_id", "started_at"}
    ] * 3
    assert {replica["node_id"] for replica in body["replicas"]} == {None}
    (change,) = body["recent_status_changes"]
    assert change["old_status"] == "none"
    assert change["new_status"] == "pending"
    assert change["reason"] == "Deployment created by user"
    assert body["created_at"].endswith("Z")
    assert "error" not in body
    assert set(face.environments.kept.values().__iter__().__next__()) == {"SECRET"}


async def test_a_failed_deployment_says_why() -> None:
    soon = Policy(retry_backoff_ms=(10, 20, 40))
    async with rest_face(policy=soon) as face:
        await face.add_nodes("a", "b")
        deployment_id = await _deploy(face, replicas=5)
        async with (
            running_scheduler(MemoryLog(face.store, Writer("scheduler", "test")), takeover_us=0),
            face.client() as client,
        ):

            async def failed() -> dict[str, Any] | None:
                body = (await client.get(f"/api/deployment/status/{deployment_id}")).json()
                return dict(body) if body["status"] == "failed" else None

            body = await eventually(failed, timeout_s=120)
    assert body is not None
    assert body["error"] == "Insufficient nodes: need 5, found 2 with capacity"
    assert body["available_nodes"] == 2
    assert body["recent_status_changes"][0]["reason"] == body["error"]


async def test_scale_and_delete(face: RestFace) -> None:
    deployment_id = await _deploy(face)
    async with face.client() as client:
        scaled = await client.post(f"/api/deployment/scale/{deployment_id}", json={"replicas": 5})
        assert (scaled.status_code, scaled.json()["replicas"]) == (202, 5)
        assert set(scaled.json()) == {"success", "deployment_id", "status", "replicas", "message"}
        deleted = await client.delete(f"/api/deployment/{deployment_id}")
        assert (deleted.status_code, deleted.json()["status"]) == (202, "deleted")
        status = await client.get(f"/api/deployment/status/{deployment_id}")
        assert (status.status_code, status.json()["status"]) == (200, "deleted")
        listed = await client.get("/api/deployment/list")
        assert (listed.json(), listed.headers["x-total-count"]) == ([], "0")
        again = await client.delete(f"/api/deployment/{deployment_id}")
        assert (again.status_code, again.json()) == (404, {"detail": "Deployment not found"})
        late = await client.post(f"/api/deployment/scale/{deployment_id}", json={"replicas": 2})
        assert late.status_code == 409


@pytest.mark.parametrize("as_header", [True, False])
async def test_a_repeated_request_gets_the_same_answer(face: RestFace, as_header: bool) -> None:
    headers = {"Idempotency-Key": "first-1"} if as_header else {}
    body = deploy_body() if as_header else deploy_body(request_id="first-1")
    async with face.client() as client:
        first = await client.post("/api/deployment/deploy", json=body, headers=headers)
        second = await client.post("/api/deployment/deploy", json=body, headers=headers)
        assert (first.status_code, first.json()) == (202, second.json())
        other = {**body, "replicas": 4}
        clash = await client.post("/api/deployment/deploy", json=other, headers=headers)
        assert clash.status_code == 409
        assert "request_id" in clash.json()["detail"]
        listed = await client.get("/api/deployment/list")
        assert len(listed.json()) == 1
    async with face.client("eve") as client:
        own = await client.post("/api/deployment/deploy", json=body, headers=headers)
        assert own.status_code == 202
        assert own.json()["deployment_id"] != first.json()["deployment_id"]


async def test_two_different_request_ids_are_refused(face: RestFace) -> None:
    async with face.client() as client:
        answer = await client.post(
            "/api/deployment/deploy",
            json=deploy_body(request_id="a"),
            headers={"Idempotency-Key": "b"},
        )
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("Idempotency-Key: ")
        same = await client.post(
            "/api/deployment/deploy",
            json=deploy_body(request_id="a"),
            headers={"Idempotency-Key": "a"},
        )
        assert same.status_code == 202


async def test_if_match_guards_a_change(face: RestFace) -> None:
    deployment_id = await _deploy(face)
    path = f"/api/deployment/scale/{deployment_id}"
    async with face.client() as client:
        status = await client.get(f"/api/deployment/status/{deployment_id}")
        current = status.headers["etag"]
        first = await client.post(path, json={"replicas": 4}, headers={"If-Match": current})
        assert first.status_code == 202
        for stale in (current, '"1"', "nonsense", f"W/{first.headers['etag']}"):
            answer = await client.post(path, json={"replicas": 5}, headers={"If-Match": stale})
            assert answer.status_code == 412, stale
        for good in (first.headers["etag"], "*"):
            answer = await client.post(path, json={"replicas": 4}, headers={"If-Match": good})
            assert answer.status_code == 202, answer.text


async def test_other_peoples_deployments_are_not_there(face: RestFace) -> None:
    deployment_id = await _deploy(face, "bob")
    async with face.client("eve") as eve:
        answers = [
            await eve.get(f"/api/deployment/status/{deployment_id}"),
            await eve.post(f"/api/deployment/scale/{deployment_id}", json={"replicas": 2}),
            await eve.delete(f"/api/deployment/{deployment_id}"),
            await eve.get(f"/api/deployment/status/{uuid4()}"),
        ]
        assert {(answer.status_code, answer.text) for answer in answers} == {
            (404, '{"detail":"Deployment not found"}')
        }
        assert (await eve.get("/api/deployment/list")).json() == []
    async with face.client("root", Role.ADMIN) as admin:
        answer = await admin.get(f"/api/deployment/status/{deployment_id}")
        assert answer.status_code == 200


async def test_list_filters_sorts_and_pages(face: RestFace) -> None:
    for name in ("alpha", "beta", "gamma", "alphabet"):
        await _deploy(face, name=name)
    async with face.client() as client:

        async def names(**query: Any) -> list[str]:
            answer = await client.get("/api/deployment/list", params=query)
            assert answer.status_code == 200, answer.text
            return [row["name"] for row in answer.json()]

        assert await names() == ["alphabet", "gamma", "beta", "alpha"]
        assert await names(sort_by="name", sort_order="asc") == [
            "alpha",
            "alphabet",
            "beta",
            "gamma",
        ]
        assert await names(name="alpha", sort_order="asc") == ["alpha", "alphabet"]
        assert await names(limit=1, offset=1) == ["gamma"]
        assert await names(status="running") == []
        assert len(await names(status="pending")) == 4
        rows = (await client.get("/api/deployment/list?sort_order=asc&limit=1")).json()
        assert set(rows[0]) == {
            "id",
            "name",
            "status",
            "degraded",
            "target_replicas",
            "running_replicas",
            "created_at",
            "updated_at",
        }
        created = rows[0]["created_at"]
        assert await names(created_before=created) == ["alpha"]
        assert len(await names(created_after=created)) == 4
        assert await names(created_after="2999-01-01T00:00:00Z") == []
        assert await names(created_before="1969-01-01T00:00:00Z") == []
        answer = await client.get("/api/deployment/list?limit=2")
        assert answer.headers["x-total-count"] == "4"


@pytest.mark.parametrize(
    ("status", "degraded"), [(DeploymentStatus.RUNNING, False), (DeploymentStatus.DEGRADED, True)]
)
async def test_one_that_runs_with_too_few_replicas_says_so(
    face: RestFace, status: DeploymentStatus, *, degraded: bool
) -> None:
    deployment_id = await _deploy(face)
    face.fold.tracker.current[deployment_id] = status
    async with face.client() as client:
        answers = [
            (await client.get(f"/api/deployment/status/{deployment_id}")).json(),
            (await client.get(f"/api/deployments/{deployment_id}")).json(),
            *(await client.get("/api/deployment/list?status=running")).json(),
            *(await client.get("/api/deployments?cluster_id=1")).json(),
        ]
    assert [(each["status"], each["degraded"]) for each in answers] == [("running", degraded)] * 4


@pytest.mark.parametrize("status", [DeploymentStatus.RUNNING, DeploymentStatus.DEGRADED])
def test_changes_say_whether_a_deployment_was_degraded(status: DeploymentStatus) -> None:
    change = StatusChange("d", DeploymentStatus.RUNNING, status, 0, "1 of 2 replicas running", 9)
    degraded = status is DeploymentStatus.DEGRADED
    live, kept = live_change(change), change_of_status(change)
    assert (live["status"], live["degraded"]) == ("running", degraded)
    assert (kept["new_status"], kept["degraded"]) == ("running", degraded)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("HIGH", 80), ("high", 80), ("Low", 20), ("platinum", 80), ("Gold", 60), (77, 77), (0, 0)],
)
async def test_priorities_by_number_and_word(face: RestFace, given: Any, kept: int) -> None:
    deployment_id = await _deploy(face, priority=given)
    assert face.fold.fleet.facts.deployments[deployment_id].spec.priority == kept


async def test_every_optional_field_arrives(face: RestFace) -> None:
    constraint = {"attribute": "label.zone", "operator": "in", "values": ["a", "b"]}
    deployment_id = await _deploy(
        face,
        region="us-west",
        cluster_id=1,
        strategy="balanced",
        wait_for_capacity=True,
        constraints=[constraint],
        gpu_model="T4",
        restart="on-failure",
        labels={"team": "blue"},
        disconnect={"lost_after_ms": 90_000, "replace": False, "stop_on_client_after_ms": 1_000},
        cpu=1,
        gpu=2,
    )
    spec = face.fold.fleet.facts.deployments[deployment_id].spec
    assert (spec.region, spec.strategy, spec.wait_for_capacity) == ("us-west", "balanced", True)
    assert (spec.gpu_model, spec.restart.name) == ("T4", "ON_FAILURE")
    assert dict(spec.labels) == {"team": "blue"}
    assert spec.disconnect == DisconnectRules(90_000, False, 1_000)
    assert spec.constraints[0].values == ("a", "b")
    assert (spec.resources.cpu_millicores, spec.resources.gpu_thousandths) == (1000, 2000)


async def test_defaults(face: RestFace) -> None:
    deployment_id = await _deploy(face, gpu=None, storage=None, region=None)
    spec = face.fold.fleet.facts.deployments[deployment_id].spec
    assert (spec.resources.gpu_thousandths, spec.resources.storage_gib) == (0, 10)
    assert (spec.region, spec.priority, spec.cluster_id) == ("us-east", 50, 1)


async def test_without_the_log_nothing_is_accepted(face: RestFace) -> None:
    face.store.available = False
    async with face.client() as client:
        answer = await client.post("/api/deployment/deploy", json=deploy_body())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


async def test_without_the_ledger_reads_are_unavailable(face: RestFace) -> None:
    deployment_id = await _deploy(face)
    face.ledger.up = False
    async with face.client() as client:
        answer = await client.get(f"/api/deployment/status/{deployment_id}")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
