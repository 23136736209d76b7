"""Accounts over REST, under both names of each path."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.rest_face import RestFace, deploy_body, rest_face


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as face:
        yield face


USER = {"username": "ambesh4", "password": "ambesh"}


@pytest.mark.parametrize("family", ["users", "auth"])
async def test_register_login_deploy_refresh(face: RestFace, family: str) -> None:
    async with face.client(None) as client:
        made = await client.post(f"/api/{family}/register", json=USER)
        assert made.status_code == 201
        assert set(made.json()) == {"id", "username"}
        assert made.json()["username"] == "ambesh4"
        again = await client.post(f"/api/{family}/register", json={**USER, "username": "AMBESH4"})
        assert again.status_code == 409
        session = await client.post(f"/api/{family}/login", json=USER)
        assert session.status_code == 200
        tokens = session.json()
        assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token"}
        assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 1800)
        headers = {"Authorization": f"bearer {tokens['access_token']}"}
        answer = await client.post("/api/deployment/deploy", json=deploy_body(), headers=headers)
        assert answer.status_code == 202
        body = {"refresh_token": tokens["refresh_token"]}
        refreshed = await client.post(f"/api/{family}/refresh", json=body)
        assert refreshed.status_code == 200
        assert refreshed.json()["refresh_token"] != tokens["refresh_token"]
        used = await client.post(f"/api/{family}/refresh", json=body)
        assert (used.status_code, used.json()) == (401, {"detail": "Not authenticated"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"username": "ab"}, ["username", "3 to 64", "'ab'"]),
        ({"username": "x" * 10_000}, ["username", "3 to 64", "10000"]),
        ({"username": 5}, ["username", "string", "3 to 64", "5"]),
        ({"password": "ambes"}, ["password", "6 to 256", "5"]),
        ({"password": "x" * 257}, ["password", "6 to 256", "257"]),
        ({"password": None}, ["password", "string", "null"]),
        ({"role": "admin"}, ["role", "allowed", "username"]),
    ],
)
async def test_bad_registrations(face: RestFace, changes: dict[str, Any], words: list[str]) -> None:
    async with face.client(None) as client:
        answer = await client.post("/api/users/register", json={**USER, **changes})
    assert answer.status_code == 400
    detail = answer.json()["detail"]
    for word in words:
        assert word.strip('"') in detail
    password = changes.get("password")
    assert not password or password not in detail


async def test_a_wrong_name_and_a_wrong_password_look_alike(face: RestFace) -> None:
    async with face.client(None) as client:
        await client.post("/api/users/register", json=USER)
        answers = [
            await client.post("/api/users/login", json={**USER, "password": "another"}),
            await client.post("/api/users/login", json={**USER, "username": "nobody"}),
        ]
    assert {(answer.status_code, answer.text) for answer in answers} == {
        (401, '{"detail":"Wrong username or password"}')
    }
    assert all(answer.headers["www-authenticate"] == "Bearer" for answer in answers)
