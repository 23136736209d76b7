"""Live events over a real socket: resumable, to each what is theirs, and gone when told to stop."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from fogbank.domain.envelope import Commit
from services.gateway.app.ports import OrganizationKey
from services.gateway.app.principal import Principal, Role, Service
from services.gateway.core.service_accounts import Scope
from services.gateway.http_api import live
from services.gateway.http_api.server import HttpServer
from tests.support.rest_face import RestFace, accepted_elsewhere, deploy_body, rest_face


@dataclass
class Served:
    face: RestFace
    server: HttpServer

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def client(self, user: str = "bob", role: Role = Role.USER) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {self.face.token(user, role)}"}
        return httpx2.AsyncClient(base_url=f"http://{self.address}", headers=headers, timeout=60)

    def watch(self, deployment_id: str, user: str = "bob", query: str = "") -> Any:
        headers = {"Authorization": f"Bearer {self.face.token(user)}"}
        url = f"ws://{self.address}/ws/deployments/{deployment_id}{query}"
        return connect(url, additional_headers=headers)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with rest_face() as face:
        server = HttpServer(face.app, "127.0.0.1:0")
        running = asyncio.create_task(server.run())
        yield Served(face, server)
        server.stop()
        await asyncio.wait_for(running, 60)


async def _deploy(client: httpx2.AsyncClient, name: str = "web") -> str:
    answer = await client.post("/api/deployment/deploy", json=deploy_body(name=name))
    assert answer.status_code == 202
    return str(answer.json()["deployment_id"])


@asynccontextmanager
async def _events(
    client: httpx2.AsyncClient, headers: dict[str, str] | None = None
) -> AsyncIterator[AsyncIterator[tuple[int, dict[str, Any]]]]:
    async with client.stream("GET", "/api/events", headers=headers or {}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")

        async def messages() -> AsyncIterator[tuple[int, dict[str, Any]]]:
            number = 0
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    number = int(line[4:])
                elif line.startswith("data: "):
                    yield number, json.loads(line[6:])

        yield messages()


async def test_one_message_per_commit_and_only_ones_own(served: Served) -> None:
    async with served.client("bob") as bob, served.client("eve") as eve, _events(bob) as messages:
        await _deploy(eve, "hers")
        deployment_id = await _deploy(bob, "his")
        number, message = await anext(messages)
        assert number == message["sequence"] == served.face.fold.position
        (event,) = message["events"]
        assert event["type"] == "fogbank.v1.DeploymentCreated"
        assert event["id"] == deployment_id
        assert event["data"]["spec"]["name"] == "his"
        assert "env_key" not in event["data"]
        assert message["appended_at"].endswith("Z")


async def test_last_event_id_resumes_without_gaps(served: Served) -> None:
    async with served.client("root", Role.ADMIN) as admin, served.client() as bob:
        begin = served.face.fold.position
        for name in ("a", "b", "c"):
            await _deploy(bob, name)
        async with _events(admin, {"Last-Event-ID": str(begin + 1)}) as messages:
            seen = [await anext(messages) for _ in range(2)]
            await _deploy(bob, "d")
            seen.append(await anext(messages))
        assert [number for number, _ in seen] == [begin + 2, begin + 3, begin + 4]
        names = [message["events"][0]["data"]["spec"]["name"] for _, message in seen]
        assert names == ["b", "c", "d"]


async def _first_id(client: httpx2.AsyncClient, after: int) -> int:
    """Follow until a message names its place in the log, and return that."""
    async with asyncio.timeout(60), client.stream("GET", f"/api/events?after={after}") as answer:
        async for line in answer.aiter_lines():
            assert not line.startswith("data: ")
            if line.startswith("id: "):
                return int(line[4:])
    raise AssertionError("it ended")


async def test_who_is_shown_nothing_of_many_commits_resumes_behind_them(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "STRETCH_COMMITS", 3)
    begin = served.face.fold.position
    async with served.client("eve") as eve, served.client("bob") as bob:
        for name in ("a", "b", "c"):
            await _deploy(eve, name)
        assert await _first_id(bob, begin) == begin + 3


async def test_a_log_that_is_never_quiet_keeps_no_stream_silent(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What concerns others comes oftener than a keepalive is due."""
    events = served.face.app.state.dependencies.events
    async with served.client("eve") as eve:
        await _deploy(eve)
    (hers,) = await events.after(events.position - 1)

    async def always_one_more(cursor: int) -> list[Commit]:
        await asyncio.sleep(0)
        return [replace(hers, sequence=cursor + 1)]

    monkeypatch.setattr(events, "after", always_one_more)
    monkeypatch.setattr(live, "_KEEPALIVE_S", 0.01)
    monkeypatch.setattr(live, "STRETCH_COMMITS", 10**12)
    async with served.client("bob") as bob:
        assert await _first_id(bob, hers.sequence) > hers.sequence


@pytest.mark.parametrize("first", [Scope.AUDIT, Scope.READ])
async def test_tokens_of_one_account_see_by_their_scopes(served: Served, first: Scope) -> None:
    second = Scope.READ if first is Scope.AUDIT else Scope.AUDIT
    of_eve = OrganizationKey(1, "eve")
    async with served.client() as bob:
        await _deploy(bob)
    uses, made = served.face.app.state.dependencies, served.face.app.state.event_messages
    (commit,) = await uses.events.after(uses.events.position - 1)
    messages = {
        scope: made.of(Principal("robot", service=Service(of_eve, frozenset({scope}))), commit)
        for scope in (first, second)
    }
    assert messages[Scope.READ] == b"", "a deployment of somebody else's"
    assert b"fogbank.v1.DeploymentCreated" in messages[Scope.AUDIT]


async def test_administrators_see_everything_from_the_beginning(served: Served) -> None:
    await served.face.add_nodes("edge-1")
    async with (
        served.client("root", Role.ADMIN) as admin,
        admin.stream("GET", "/api/events?after=1") as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                assert json.loads(line[6:])["events"][0]["type"] == "fogbank.v1.NodeConnected"
                break


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 30])
async def test_a_bad_last_event_id(served: Served, given: str) -> None:
    async with served.client() as client:
        answer = await client.get("/api/events", headers={"Last-Event-ID": given})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Last-Event-ID: ")


async def test_what_comes_after_the_end_of_the_log_is_not_waited_for(served: Served) -> None:
    async with served.client() as client:
        after = await client.get("/api/events?after=99")
        resumed = await client.get("/api/events", headers={"Last-Event-ID": "99"})
    for answer, field in ((after, "after"), (resumed, "Last-Event-ID")):
        assert answer.status_code == 400
        said = answer.json()["detail"]
        assert said.startswith(f"{field}: must be at most ")
        assert said.endswith(", the log's last sequence, was 99")


async def _next(socket: ClientConnection) -> dict[str, Any]:
    message = json.loads(await asyncio.wait_for(socket.recv(), 60))
    assert isinstance(message, dict)
    return message


async def test_a_websocket_tells_each_change(served: Served) -> None:
    async with served.client() as client:
        deployment_id = await _deploy(client)
        async with served.watch(deployment_id) as socket:
            first = await _next(socket)
            assert set(first) == {
                "deployment_id",
                "status",
                "degraded",
                "old_status",
                "changed_at",
                "reason",
                "sequence",
            }
            assert (first["old_status"], first["status"]) == ("none", "pending")
            await client.delete(f"/api/deployment/{deployment_id}")
            second = await _next(socket)
            assert (second["old_status"], second["status"]) == ("pending", "deleted")
        async with served.watch(deployment_id, query=f"?after={first['sequence']}") as socket:
            assert await _next(socket) == second


async def test_a_websocket_of_what_another_gateway_just_accepted(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await accepted_elsewhere(served.face, monkeypatch)
    async with served.watch(known) as socket:
        assert (await _next(socket))["status"] == "pending"


async def test_a_browser_sends_its_token_as_a_protocol(served: Served) -> None:
    async with served.client() as client:
        deployment_id = await _deploy(client)
    url = f"ws://{served.address}/ws/deployments/{deployment_id}"
    token = served.face.token()
    async with connect(url, subprotocols=["bearer", token]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "bearer"
        assert (await _next(socket))["status"] == "pending"


@pytest.mark.parametrize(
    ("user", "path", "status"),
    [
        ("eve", "{id}", 404),
        ("bob", "not-a-uuid", 400),
        ("bob", "{id}?after=x", 400),
        ("bob", "{id}?after=99", 400),
        ("bob", "{id}?colour=red", 400),
        ("", "{id}", 401),
    ],
)
async def test_websockets_that_are_refused(
    served: Served, user: str, path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with served.client() as client:
        deployment_id = await _deploy(client)
    url = f"ws://{served.address}/ws/deployments/{path.format(id=deployment_id)}"
    headers = {"Authorization": f"Bearer {served.face.token(user)}"} if user else {}
    with pytest.raises(InvalidStatus) as refusal:
        await connect(url, additional_headers=headers)
    assert refusal.value.response.status_code == status
    # An ordinary refusal is no fault of ours, so nobody shall be alarmed by an error in the log.
    assert not [each for each in caplog.records if each.name.startswith("uvicorn")]


async def test_open_streams_end_when_the_server_stops() -> None:
    async with rest_face() as face:
        server = HttpServer(face.app, "127.0.0.1:0")
        running = asyncio.create_task(server.run())
        served = Served(face, server)
        async with served.client() as client, _events(client):
            server.stop()
            await asyncio.wait_for(running, 60)


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_of_5_mb_over_a_socket(served: Served, chunked: bool) -> None:
    data = b'{"name": "' + b"x" * 5_000_000 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    async with served.client() as client:
        answer = await client.post(
            "/api/deployment/deploy",
            content=pieces() if chunked else data,
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 413
        assert (await client.get("/livez")).status_code == 200
