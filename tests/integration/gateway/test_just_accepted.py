"""What one gateway just accepted is there at another one that has not read that far in the log."""

from collections.abc import AsyncIterator

import pytest

from tests.support.rest_face import RestFace, accepted_elsewhere, rest_face


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
