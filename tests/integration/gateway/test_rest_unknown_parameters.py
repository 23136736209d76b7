"""What nobody documents may not be asked for over REST; probes may ask as they like."""

from collections.abc import AsyncIterator

import pytest

from tests.support.rest_face import RestFace, deploy_body, rest_face

DEPLOY = "/api/deployment/deploy"


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as face:
        yield face


@pytest.mark.parametrize("unknown", ["colour=red", "=null"])
async def test_where_something_may_be_asked_for_nothing_unknown_may(
    face: RestFace, unknown: str
) -> None:
    await face.add_nodes("edge-1")
    (node_id,) = face.fold.fleet.facts.nodes
    async with face.client() as client:
        made = (await client.post(DEPLOY, json=deploy_body())).json()
        for path in (
            f"/api/deployment/status/{made['deployment_id']}",
            "/api/clusters/1/status",
            f"/cluster/nodes/{node_id}",
        ):
            assert (await client.get(f"{path}?as_of=")).status_code == 200
            answer = await client.get(f"{path}?as_of=&{unknown}")
            assert (answer.status_code, "not a known parameter" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", DEPLOY),
        ("POST", "/api/deployment/plan"),
        ("GET", "/api/deployment/explain/a1b2c3d4-e5f6-7890-abcd-ef1234567890"),
        ("DELETE", "/api/deployment/a1b2c3d4-e5f6-7890-abcd-ef1234567890"),
        ("GET", "/api/orgs/my"),
        ("GET", "/api/orchestration/services"),
        ("GET", "/api/events"),
        ("GET", "/api/v1/system/status"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/users/register"),
    ],
)
async def test_where_nothing_may_be_asked_for_nothing_unknown_may_either(
    face: RestFace, method: str, path: str
) -> None:
    async with face.client() as client:
        answer = await client.request(method, f"{path}?colour=red&{'x' * 100}=1")
    long = f"{'x' * 60}..."
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"] == (
        f"colour: is not a known parameter; {long}: is not a known parameter"
    )


@pytest.mark.parametrize("path", ["/health", "/livez", "/status", "/metrics", "/"])
async def test_probes_may_ask_as_they_like(face: RestFace, path: str) -> None:
    async with face.client(None) as client:
        answers = [await client.get(path), await client.get(f"{path}?x=1")]
    assert answers[0].status_code == answers[1].status_code


async def test_who_is_not_signed_in_hears_of_that_alone(face: RestFace) -> None:
    async with face.client(None) as client:
        answer = await client.get("/api/deployment/list?colour=red")
    assert answer.status_code == 401
