"""Updates over REST: what changes, how rollouts are told of, and going back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from fogbank.domain.deployment import DeploymentSpec, RolloutSpec
from tests.support.rest_face import RestFace, deploy_body, rest_face

QUEUED = "Update queued. Use /rollout/{deployment_id} to track progress."


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as face:
        yield face


async def deployed(face: RestFace, **changes: Any) -> str:
    async with face.client() as client:
        answer = await client.post("/api/deployment/deploy", json=deploy_body(**changes))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["deployment_id"])


def spec_of(face: RestFace, deployment_id: str) -> DeploymentSpec:
    return face.fold.fleet.facts.deployments[deployment_id].spec


async def test_only_what_is_given_changes(face: RestFace) -> None:
    known = await deployed(face, env={"A": "secret-1"})
    before = spec_of(face, known)
    async with face.client() as client:
        changes = {"container_image": "nginx:2", "resources": {"memory": 1024}}
        answer = await client.post(f"/api/deployment/update/{known}", json=changes)
        assert answer.status_code == 202
        assert answer.json() == {
            "success": True,
            "deployment_id": known,
            "status": "pending",
            "replicas": 3,
            "message": QUEUED,
        }
        assert answer.headers["location"] == f"/api/deployment/status/{known}"
        assert answer.headers["etag"]
        told = (await client.get(f"/api/deployment/rollout/{known}")).json()
    after = spec_of(face, known)
    assert after.container_image == "nginx:2"
    assert after.resources.memory_mib == 1024
    assert after.resources.cpu_millicores == before.resources.cpu_millicores
    assert (after.name, after.replicas, after.region) == (before.name, 3, before.region)
    assert (told["revision"], told["wanted_revision"], told["phase"]) == (2, 2, "progressing")
    newest, oldest = told["revisions"]
    assert (newest["revision"], newest["state"]) == (2, "wanted")
    assert newest["resources"]["memory_mb"] == 1024
    assert (oldest["revision"], oldest["state"], oldest["has_env"]) == (1, None, True)
    assert newest["has_env"], "an environment that is not given stays"


async def test_what_another_face_allowed_stands_and_what_is_given_is_bounded(
    face: RestFace,
) -> None:
    job = {
        "cluster_id": 1,
        "image": "nginx:1",
        "required_cpu": 20,
        "required_ram": 16,
        "required_gpu": 0,
        "priority": "HIGH",
    }
    async with face.client() as client:
        answer = await client.post("/api/deployments", json=job)
        assert answer.status_code == 202, answer.text
        known = answer.json()["id"]
        before, path = spec_of(face, known), f"/api/deployment/update/{known}"
        answer = await client.post(path, json={"container_image": "nginx:2"})
        assert answer.status_code == 202, answer.text
        assert spec_of(face, known) == replace(before, container_image="nginx:2")
        answer = await client.post(path, json={"resources": {"cpu": 0.1, "storage": 1}})
        complaint = "resources.cpu: must be between 0.5 and 16 cores, got 0.1"
        assert (answer.status_code, answer.json()) == (400, {"detail": complaint})


async def test_rollout_rules_stand_in_deploy_and_are_changed_one_by_one(face: RestFace) -> None:
    known = await deployed(face, rollout={"max_surge": 0, "max_unavailable": 2})
    assert spec_of(face, known).rollout == RolloutSpec(max_surge=0, max_unavailable=2)
    async with face.client() as client:
        path = f"/api/deployment/update/{known}"
        answer = await client.post(path, json={"rollout": {"min_healthy_ms": 1000}})
        assert answer.status_code == 202
        assert spec_of(face, known).rollout == RolloutSpec(0, 2, 1000)
        told = (await client.get(f"/api/deployment/rollout/{known}")).json()
        assert told["revision"] == 1, "rules of the next update are no new revision"
        wrong = await client.post(path, json={"rollout": {"max_unavailable": 0}})
        assert wrong.status_code == 400
        assert "max_surge or max_unavailable above 0" in wrong.json()["detail"]


async def test_back_to_an_earlier_revision_with_a_body_or_without(face: RestFace) -> None:
    known = await deployed(face)
    first = spec_of(face, known).container_image
    async with face.client() as client:
        update, back = f"/api/deployment/update/{known}", f"/api/deployment/rollback/{known}"
        nowhere = await client.post(back)
        assert nowhere.status_code == 409
        assert nowhere.json()["detail"] == "There is no earlier revision"
        for image in ("nginx:2", "nginx:3"):
            await client.post(update, json={"container_image": image})
        answer = await client.post(back)
        assert (answer.status_code, answer.json()["success"]) == (202, True)
        assert answer.json()["message"].startswith("Rollback queued.")
        assert spec_of(face, known).container_image == "nginx:2"
        assert (await client.post(back, json={"to_revision": 1})).status_code == 202
        assert spec_of(face, known).container_image == first
        wrong = await client.post(back, json={"to_revision": 77})
        assert wrong.status_code == 400
        assert "to_revision: must be one of 1, 2, 3, 4, got 77" in wrong.json()["detail"]


async def test_nobody_goes_back_to_a_revision_that_is_no_longer_kept(face: RestFace) -> None:
    known = await deployed(face)
    async with face.client() as client:
        for number in range(2, 14):
            body = {"container_image": f"nginx:{number}"}
            await client.post(f"/api/deployment/update/{known}", json=body)
        told = (await client.get(f"/api/deployment/rollout/{known}")).json()
        assert [each["revision"] for each in told["revisions"]] == [*range(13, 3, -1)]
        back = f"/api/deployment/rollback/{known}"
        gone = await client.post(back, json={"to_revision": 3})
        assert gone.status_code == 400
        assert gone.json()["detail"].endswith("got 3; revision 3 is no longer kept")
        assert (await client.post(back, json={"to_revision": 4})).status_code == 202
        assert spec_of(face, known).container_image == "nginx:4"


async def test_a_repeat_gets_the_same_answer_and_a_stale_one_is_refused(face: RestFace) -> None:
    known = await deployed(face)
    path = f"/api/deployment/update/{known}"
    body = {"container_image": "nginx:2", "env": {"A": "b"}, "request_id": "one"}
    async with face.client() as client:
        first = await client.post(path, json=body)
        again = await client.post(path, json=body)
        assert again.headers["etag"] == first.headers["etag"]
        other = await client.post(path, json=body | {"container_image": "nginx:3"})
        assert other.status_code == 409
        stale = await client.post(
            path, json={"container_image": "nginx:4"}, headers={"If-Match": '"1.0"'}
        )
        assert stale.status_code == 412
        wrong = await client.post(path, json={"container_image": ""}, headers={"If-Match": "no"})
        assert wrong.status_code == 400
        fresh = await client.post(
            path,
            json={"container_image": "nginx:4"},
            headers={"If-Match": first.headers["etag"]},
        )
        assert fresh.status_code == 202


@pytest.mark.parametrize(
    ("what", "body", "field"),
    [
        ("update", {"container_image": ""}, "container_image"),
        ("update", {"container_image": "nginx:2", "request_id": "x" * 129}, "request_id"),
        ("scale", {"replicas": 2, "request_id": "x" * 129}, "request_id"),
        ("rollback", {"to_revision": -1}, "to_revision"),
    ],
)
async def test_a_body_that_is_no_good_is_that_whatever_the_version_is(
    face: RestFace, what: str, body: dict[str, Any], field: str
) -> None:
    async with face.client() as client:
        known = (await client.post("/api/deployment/deploy", json=deploy_body())).json()
        path = f"/api/deployment/{what}/{known['deployment_id']}"
        answer = await client.post(path, json=body, headers={"If-Match": "no"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, "body: must name what to change"),
        ({"request_id": "x"}, "body: must name what to change"),
        ({"replicas": 11}, "replicas: must be between 1 and 10, got 11"),
        ({"replicas": None}, "replicas: must be an integer between 1 and 10, got null"),
        ({"resources": {"cpu": 0.1}}, "resources.cpu: must be between 0.5 and 16 cores, got 0.1"),
        ({"cluster_id": 0}, "cluster_id: must be between 1"),
        ({"type": "web"}, "Invalid type. Must be one of:"),
        ({"rollout": {"surge": 1}}, "rollout.surge: is not a known field"),
        ({"rollout": {"max_surge": -1}}, "rollout.max_surge: must be between 0 and 1000, got -1"),
        ({"env": {"A": 1}}, "env.A: must be a string, got a number"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    face: RestFace, body: dict[str, Any], complaint: str
) -> None:
    known = await deployed(face)
    version = face.fold.fleet.facts.deployments[known].version
    async with face.client() as client:
        answer = await client.post(f"/api/deployment/update/{known}", json=body)
    assert answer.status_code == 400
    assert complaint in answer.json()["detail"]
    assert face.fold.fleet.facts.deployments[known].version == version


async def test_nobody_touches_or_sees_anothers(face: RestFace) -> None:
    known = await deployed(face)
    async with face.client("somebody-else") as other:
        changes = {"container_image": "nginx:2"}
        answers = [
            await other.post(f"/api/deployment/update/{known}", json=changes),
            await other.post(f"/api/deployment/rollback/{known}", json={}),
            await other.get(f"/api/deployment/rollout/{known}"),
        ]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    async with face.client(None) as nobody:
        answer = await nobody.get(f"/api/deployment/rollout/{known}")
    assert answer.status_code == 401


async def test_the_document_has_examples(face: RestFace) -> None:
    async with face.client() as client:
        document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert schemas["UpdateBody"]["examples"][0]["container_image"] == "nginx:1.25"
    assert "default" not in schemas["UpdateBody"]["properties"]["replicas"]
    assert schemas["RolloutBody"]["properties"]["min_healthy_ms"]["default"] == 5_000
    body = document["paths"]["/api/deployment/rollback/{deployment_id}"]["post"]["requestBody"]
    assert body["required"] is False
