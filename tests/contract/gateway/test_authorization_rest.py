"""Who may call what over REST: every route, by every kind of caller that could be refused.

A route that isn't in the table below fails the first test: whoever adds one says who may use it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.gateway import http_api
from services.gateway.app.principal import Role
from services.gateway.core.service_accounts import Scope, includes
from services.gateway.http_api.scopes import FOR_PEOPLE, ROUTES, scope_of
from tests.support.bad_tokens import OTHER_KINDS, QUICK_KINDS, bad_tokens
from tests.support.rest_face import SECRET, RestFace, rest_face
from tests.support.who_may import Who

JOB = {"image": "nginx", "required_cpu": 20, "required_ram": 10, "required_gpu": 0}
QUOTA = {"total_cpu": 4000, "total_ram": 4096, "total_gpu": 0}
DEPLOYMENT = {
    "name": "web",
    "type": "compute",
    "container_image": "nginx:1.24",
    "replicas": 1,
    "resources": {"cpu": 1.0, "memory": 512},
}


@dataclass(frozen=True)
class Row:
    """Who may use a route, and what to send it; `{...}` in texts stands for the owners' things."""

    who: Who
    body: Mapping[str, Any] | None = None
    query: str = ""


def both(path: str, row: Row) -> dict[tuple[str, str], Row]:
    """Return the two names of a route for accounts."""
    return {("POST", f"/api/{prefix}/{path}"): row for prefix in ("auth", "users")}


ACCOUNT = {"username": "newcomer", "password": "secret-1"}
ROWS: dict[tuple[str, str], Row] = {
    ("POST", "/api/deployment/deploy"): Row(
        Who.OPERATORS, DEPLOYMENT | {"cluster_id": "{cluster_id}"}
    ),
    ("POST", "/api/deployment/plan"): Row(
        Who.OPERATORS, DEPLOYMENT | {"cluster_id": "{cluster_id}"}
    ),
    ("GET", "/api/deployment/list"): Row(Who.SIGNED_IN),
    ("GET", "/api/deployment/status/{deployment_id}"): Row(Who.AUTHOR),
    ("GET", "/api/deployment/explain/{deployment_id}"): Row(Who.AUTHOR),
    ("GET", "/api/deployment/rollout/{deployment_id}"): Row(Who.AUTHOR),
    ("POST", "/api/deployment/scale/{deployment_id}"): Row(Who.OPERATING_AUTHOR, {"replicas": 2}),
    ("POST", "/api/deployment/update/{deployment_id}"): Row(
        Who.OPERATING_AUTHOR, {"container_image": "nginx:1.25"}
    ),
    ("POST", "/api/deployment/rollback/{deployment_id}"): Row(Who.OPERATING_AUTHOR, {}),
    ("DELETE", "/api/deployment/{deployment_id}"): Row(Who.AUTHOR),
    ("POST", "/api/deployments"): Row(
        Who.OPERATORS, JOB | {"cluster_id": "{cluster_id}", "priority": "LOW"}
    ),
    ("GET", "/api/deployments"): Row(Who.MEMBERS, query="?cluster_id={cluster_id}"),
    ("GET", "/api/deployments/{deployment_id}"): Row(Who.AUTHOR),
    ("POST", "/api/deployments/{deployment_id}"): Row(Who.OPERATING_AUTHOR, {"priority": "HIGH"}),
    **both("register", Row(Who.ANYBODY, ACCOUNT)),
    **both("login", Row(Who.ANYBODY, ACCOUNT)),
    **both("refresh", Row(Who.ANYBODY, {"refresh_token": "no such token"})),
    **both("logout", Row(Who.SIGNED_IN)),
    ("POST", "/api/orgs/create"): Row(Who.SIGNED_IN, {"name": "another"}),
    ("POST", "/api/orgs/join"): Row(Who.SIGNED_IN, {"invite_code": "nosuchcode1234"}),
    ("GET", "/api/orgs/all"): Row(Who.SIGNED_IN),
    ("GET", "/api/orgs/my"): Row(Who.SIGNED_IN),
    ("GET", "/api/orgs/{organization_id}/members"): Row(Who.MEMBERS),
    ("PUT", "/api/orgs/{organization_id}/members/{user}"): Row(Who.OWNERS, {"role": "viewer"}),
    ("DELETE", "/api/orgs/{organization_id}/members/{user}"): Row(Who.OWNERS),
    ("GET", "/api/orgs/{organization_id}/invite"): Row(Who.OWNERS),
    ("POST", "/api/orgs/{organization_id}/invite"): Row(Who.OWNERS, {}),
    ("DELETE", "/api/orgs/{organization_id}/invite"): Row(Who.OWNERS),
    ("POST", "/api/orgs/{organization_id}/tokens"): Row(
        Who.OWNERS, {"name": "ci", "scopes": ["read"]}
    ),
    ("GET", "/api/orgs/{organization_id}/tokens"): Row(Who.OWNERS),
    ("DELETE", "/api/orgs/{organization_id}/tokens/{token_id}"): Row(Who.OWNERS),
    ("GET", "/api/orgs/{organization_id}/quota"): Row(Who.MEMBERS),
    ("PUT", "/api/orgs/{organization_id}/quota"): Row(Who.ADMINISTRATORS, QUOTA),
    ("POST", "/api/clusters"): Row(
        Who.OPERATORS, QUOTA | {"name": "mill", "organization_id": "{organization_id}"}
    ),
    ("GET", "/api/clusters"): Row(Who.SIGNED_IN),
    ("GET", "/api/clusters/{cluster_id}/status"): Row(Who.MEMBERS),
    ("GET", "/api/clusters/{cluster_id}/deployments"): Row(Who.MEMBERS),
    ("PUT", "/api/clusters/{cluster_id}/quota"): Row(Who.OWNERS, QUOTA),
    ("GET", "/cluster/nodes"): Row(Who.SIGNED_IN),
    ("GET", "/cluster/nodes/{name}"): Row(Who.SIGNED_IN),
    ("GET", "/cluster/state"): Row(Who.SIGNED_IN),
    ("GET", "/api/orchestration/services"): Row(Who.SIGNED_IN),
    ("GET", "/api/events"): Row(Who.SIGNED_IN),
    ("WEBSOCKET", "/ws/deployments/{deployment_id}"): Row(Who.AUTHOR),
    **{
        ("GET", path): Row(Who.ANYBODY)
        for path in (
            *("/health", "/healthz", "/readiness", "/readyz", "/livez", "/metrics"),
            *("/", "/status", "/api/v1/system/status"),
        )
    },
    **{
        ("POST", path): Row(Who.SIGNED_IN)
        for path in ("/training/trigger", "/model/save", "/model/load")
    },
}
# Streams and sockets are tried in the tests of what they send; who signs out can't try the others.
APART = {
    ("GET", "/api/events"),
    ("WEBSOCKET", "/ws/deployments/{deployment_id}"),
    *both("logout", Row(Who.SIGNED_IN)),
}
ASKED = {key: row for key, row in ROWS.items() if key not in APART}


def routes() -> set[tuple[str, str]]:
    """Return every route of the face, by method and path."""
    found = set()
    for module in pkgutil.iter_modules(http_api.__path__):
        router = getattr(
            importlib.import_module(f"{http_api.__name__}.{module.name}"), "router", None
        )
        for route in router.routes if router is not None else ():
            methods = getattr(route, "methods", None) or {"WEBSOCKET"}
            found |= {(method, route.path) for method in methods}
    return found


def test_every_route_is_in_the_table() -> None:
    assert routes() == ROWS.keys()


@dataclass
class Tenants:
    """Alice's organization with a cluster and a deployment, and what others are to it."""

    face: RestFace
    things: dict[str, Any] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)

    async def call(self, key: tuple[str, str], token: str) -> int:
        """Call a route about Alice's things and return the status of the answer."""
        method, path = key
        row = ROWS[key]
        async with self.face.client(None) as client:
            answer = await client.request(
                method,
                (path + row.query).format(**self.things),
                json=self._filled(row.body),
                headers={"Authorization": f"Bearer {token}"} if token else {},
            )
        return answer.status_code

    async def done(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """Do something that must succeed."""
        async with self.face.client(who) as client:
            answer = await client.request(method, path.format(**self.things), json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def deploy(self, who: str, ask: Mapping[str, Any]) -> str:
        """Make a deployment and return its id."""
        made = await self.done(who, "POST", "/api/deployment/deploy", ask)
        return str(made["deployment_id"])

    async def api_token(self, *scopes: str, by: str = "alice", **things: Any) -> str:
        """Make a token of a service account and return it."""
        role = Role.ADMIN if by == "root" else Role.USER
        async with self.face.client(by, role) as client:
            answer = await client.post(
                "/api/orgs/{organization_id}/tokens".format(**self.things | things),
                json={"name": "robot", "scopes": scopes},
            )
        made = answer.json()
        self.things["token_id"] = made["id"]
        return str(made["token"])

    def _filled(self, body: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if body is None:
            return None
        return {
            name: self.things[value[1:-1]]
            if isinstance(value, str) and value.startswith("{")
            else value
            for name, value in body.items()
        }


@pytest.fixture
async def tenants() -> AsyncIterator[Tenants]:
    async with rest_face() as face:
        made = Tenants(face)
        await face.add_nodes("fog-1")
        organization = await made.done("alice", "POST", "/api/orgs/create", {"name": "org1"})
        made.things |= {"organization_id": organization["id"], "name": "fog-1"}
        cluster = await made.done(
            "alice",
            "POST",
            "/api/clusters",
            QUOTA | {"name": "cluster1", "organization_id": organization["id"]},
        )
        made.things["cluster_id"] = cluster["id"]
        ask = DEPLOYMENT | {"cluster_id": cluster["id"]}
        made.own["alice"] = await made.deploy("alice", ask)
        path = "/api/orgs/{organization_id}/members/{user}"
        code = {"invite_code": organization["invite_code"]}
        for name, role in (("vera", "viewer"), ("otto", "operator"), ("rex", "operator")):
            await made.done(name, "POST", "/api/orgs/join", code)
            made.things["user"] = face.users[name]
            made.own[name] = await made.deploy(name, ask)
            await made.done("alice", "PUT", path, {"role": role})
        await made.done("alice", "DELETE", path)
        made.things |= {"user": face.users["alice"], "deployment_id": made.own["alice"]}
        await made.api_token("read")
        yield made


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("kinds", [QUICK_KINDS, pytest.param(OTHER_KINDS, marks=pytest.mark.slow)])
async def test_without_a_good_token_only_what_is_open_answers(
    tenants: Tenants, kinds: tuple[str, ...]
) -> None:
    tokens = bad_tokens(tenants.face.token("alice"), SECRET)
    assert tokens.keys() == {*QUICK_KINDS, *OTHER_KINDS}
    for what in kinds:
        for key, row in ROWS.items():
            if key[0] == "WEBSOCKET":
                continue
            status = await tenants.call(key, tokens[what])
            if row.who is not Who.ANYBODY:
                assert status == 401, (key, what)
            elif key[1].rpartition("/")[2] not in {"login", "refresh"}:
                assert status not in {401, 403}, (key, what)


@pytest.mark.parametrize("who", ["mallory", "rex"])
async def test_for_strangers_and_removed_members_it_is_not_there(
    tenants: Tenants, who: str
) -> None:
    token = tenants.face.token(who)
    for key, row in ASKED.items():
        status = await tenants.call(key, token)
        if row.who is Who.ADMINISTRATORS:
            assert status == 403, key
        elif row.who not in {Who.ANYBODY, Who.SIGNED_IN}:
            assert status == 404, key
        else:
            assert status != 403, key


@pytest.mark.parametrize("who", ["vera", "otto"])
async def test_what_a_member_may_see_and_change(tenants: Tenants, who: str) -> None:
    token, operates = tenants.face.token(who), who == "otto"
    for key, row in ASKED.items():
        status = await tenants.call(key, token)
        match row.who:
            case Who.ANYBODY | Who.SIGNED_IN:
                assert status != 403, key
            case Who.MEMBERS:
                assert status == 200, key
            case Who.AUTHOR | Who.OPERATING_AUTHOR:
                assert status == 404, (key, "it is another member's")
            case Who.OPERATORS if operates:
                assert status not in {401, 403, 404}, key
            case _:
                assert status == 403, key


@pytest.mark.parametrize("who", ["vera", "otto", "rex"])
async def test_what_an_author_may_do_by_role(tenants: Tenants, who: str) -> None:
    tenants.things["deployment_id"] = tenants.own[who]
    token = tenants.face.token(who)
    for key, row in ASKED.items():
        status = await tenants.call(key, token) if "{deployment_id}" in key[1] else 0
        if row.who is Who.AUTHOR:
            assert status in {200, 202}, key
        elif row.who is Who.OPERATING_AUTHOR and who == "otto":
            assert status not in {401, 403, 404}, key
        elif row.who is Who.OPERATING_AUTHOR:
            assert status in {403, 404}, key


@pytest.mark.parametrize("role", [Role.USER, Role.ADMIN])
async def test_owners_and_administrators_may_do_all_of_it(tenants: Tenants, role: Role) -> None:
    token = tenants.face.token("alice" if role is Role.USER else "root", role)
    for key, row in ASKED.items():
        status = await tenants.call(key, token)
        if row.who is Who.ADMINISTRATORS and role is Role.USER:
            assert status == 403, key
        elif row.who is not Who.ANYBODY:
            assert status not in {401, 403}, key


def test_every_route_has_a_scope_or_is_for_people() -> None:
    named = [route for found in (*ROUTES.values(), FOR_PEOPLE) for route in found]
    assert sorted(named) == sorted(key for key, row in ROWS.items() if row.who is not Who.ANYBODY)


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_token_does_what_it_is_for_and_nothing_else(tenants: Tenants, scope: Scope) -> None:
    token = await tenants.api_token(scope, by="root")
    for key, row in ASKED.items():
        if row.who is Who.ANYBODY:
            continue
        status, wanted = await tenants.call(key, token), scope_of(*key)
        if wanted is None or not includes([scope], wanted):
            assert status == 403, key
        elif row.who in {Who.AUTHOR, Who.OPERATING_AUTHOR}:
            assert status == 404, key
        else:
            assert status not in {401, 403, 404}, key


async def test_tokens_that_count_no_more_or_elsewhere_only(tenants: Tenants) -> None:
    revoked = await tenants.api_token("admin")
    await tenants.done("alice", "DELETE", "/api/orgs/{organization_id}/tokens/{token_id}")
    expired = await tenants.api_token("admin")
    tenants.face.api_tokens.expire(expired)
    theirs = await tenants.done("mallory", "POST", "/api/orgs/create", {"name": "theirs"})
    foreign = await tenants.api_token("admin", by="mallory", organization_id=theirs["id"])
    for key, row in ASKED.items():
        if row.who is Who.ANYBODY:
            continue
        for token in (revoked, expired):
            assert await tenants.call(key, token) == 401, key
        status = await tenants.call(key, foreign)
        if key in FOR_PEOPLE:
            assert status == 403, key
        elif row.who is not Who.SIGNED_IN:
            assert status == 404, key
