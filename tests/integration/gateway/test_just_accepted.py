"""What one gateway just accepted is there at another one that has not read that far in the log."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from services.gateway.core import commands
from tests.support.rest_face import (
    RestFace,
    accepted_elsewhere,
    append_elsewhere,
    deploy_body,
    rest_face,
)


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as face:
        yield face


@pytest.mark.parametrize("path", ["/api/deployment/status/{}", "/api/deployments/{}"])
async def test_it_is_shown(face: RestFace, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    known = await accepted_elsewhere(face, monkeypatch)
    async with face.client() as client:
        assert (await client.get(path.format(known))).status_code == 200


async def test_it_is_changed(face: RestFace, monkeypatch: pytest.MonkeyPatch) -> None:
    known = await accepted_elsewhere(face, monkeypatch)
    async with face.client() as client:
        body = {"container_image": "nginx:2"}
        answer = await client.post(f"/api/deployment/update/{known}", json=body)
    assert answer.status_code == 202, answer.text


async def test_it_is_gone_back_from(face: RestFace, monkeypatch: pytest.MonkeyPatch) -> None:
    async with face.client() as client:
        made = await client.post("/api/deployment/deploy", json=deploy_body())
        known = face.fold.fleet.facts.deployments[made.json()["deployment_id"]]
        spec = replace(known.spec, container_image="nginx:2")
        envelope = commands.update_envelope(
            known.owner_id,
            commands.UPDATE,
            "an-update",
            ev.DeploymentUpdated(known.id, spec, known.env_key),
            {},
            expected_version=known.version,
            now_us=face.store.clock_us(),
        )
        await append_elsewhere(face, monkeypatch, envelope)
        path = f"/api/deployment/rollback/{known.id}"
        answer = await client.post(path, json={"to_revision": 1})
    assert answer.status_code == 202, answer.text
