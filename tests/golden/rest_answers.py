"""The examples of answers in the OpenAPI document, as the REST face gives them.

`python -m tests.golden.rest_answers` writes them again. What differs from one time to the next
(ids, times, secrets) is replaced, so that the same face gives the same examples.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from uuid import UUID

import httpx2
from starlette.requests import Request

from fogbank.domain.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from fogbank.log.memory import MemoryLog
from fogbank.log.port import Writer
from services.gateway.app.principal import Role
from services.gateway.core.commands import stale
from services.gateway.http_api.answer_examples import FILE
from services.gateway.http_api.errors import (
    PROBLEM_JSON,
    TooLargeError,
    TooSlowError,
    error_response,
    internal_response,
)
from tests.support.hand_scheduler import HandScheduler
from tests.support.rest_face import RestFace, deploy_body, rest_face

Answers = dict[str, dict[str, Any]]

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_SOME_TIME = "2031-04-05T06:07:08.901234Z"
_VARYING = {
    "access_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIuLi4ifQ.c2lnbmF0dXJl",
    "refresh_token": "3q2-7wAbCdEfGhIjKlMnOpQrStUvWxYz",
    "token": "fogtok_3q2-7wAbCdEfGhIjKlMnOpQrStUvWxYz",
    "invite_code": "XNwDkZzK6MctFq",
    "oldest_waiting_seconds": 1.5,
    "versions": {"fogbank": "0.1.0", "python": "3.11.14"},
}
_NOBODY = str(UUID(int=0))
_ALICE = {"username": "alice", "password": "correct horse battery"}
_BOB = {"username": "bob", "password": "another staple"}
_QUOTA = {"total_cpu": 80000, "total_ram": 16384, "total_gpu": 2000}
_ERRORS = (
    InvalidArgumentError.of_field("limit", "must be between 1 and 100, got 1000"),
    UnauthenticatedError("Not authenticated"),
    PermissionDeniedError("Administrators only", reason="ADMIN_ONLY"),
    NotFoundError("Deployment not found", reason="DEPLOYMENT_NOT_FOUND"),
    AlreadyExistsError("The request id was used with another content", reason="REQUEST_ID_REUSED"),
    TooSlowError.of_limit(30),
    stale(),
    TooLargeError.of_limit(1 << 20, "2097152"),
    ResourceExhaustedError("Too many requests; try again in 1 s", reason="RATE_LIMITED"),
    UnavailableError("The ledger does not answer; try again later", reason="LEDGER_UNAVAILABLE"),
)
_JOB = {"image": "nginx:1.27", "required_cpu": 20, "required_ram": 10, "required_gpu": 2}


class Recorder:
    """Calls operations by their ids, and keeps what they answer."""

    def __init__(self, face: RestFace) -> None:
        self._face = face
        self._operations = {
            operation["operationId"]: (method, path)
            for path, operations in face.app.openapi()["paths"].items()
            for method, operation in operations.items()
        }
        self._ids: dict[str, str] = {}
        self.answers: Answers = {}

    async def ask(
        self, operation: str, body: Any = None, who: str | None = "alice", **names: Any
    ) -> Any:
        """Return what an operation answers, and keep that."""
        answer = await self._sent(operation, body, who, names)
        assert answer.status_code < 300, (operation, answer.text)
        content = answer.json() if answer.content else None
        if content is not None:
            self._keep(operation, answer.status_code, content)
        return content

    async def fail(
        self, operation: str, body: Any = None, who: str | None = "alice", **names: Any
    ) -> None:
        """Keep the problem that an operation answers with."""
        answer = await self._sent(operation, body, who, names, {"Accept": PROBLEM_JSON})
        assert answer.status_code >= 400, (operation, answer.text)
        self._keep(operation, answer.status_code, answer.json())

    async def _sent(
        self,
        operation: str,
        body: Any,
        who: str | None,
        names: dict[str, Any],
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        method, path = self._operations[operation]
        query = {name: names[name] for name in names if f"{{{name}}}" not in path}
        role = Role.ADMIN if who == "root" else Role.USER
        async with self._face.client(who, role) as client:
            return await client.request(
                method, path.format(**names), json=body, headers=headers, params=query
            )

    def _keep(self, operation: str, status: int, content: Any) -> None:
        self.answers.setdefault(operation, {})[str(status)] = self._settled(content)

    def _settled(self, value: Any) -> Any:
        """Return a value with what differs each time replaced."""
        match value:
            case dict():
                return {
                    name: _VARYING[name] if name in _VARYING else self._settled(each)
                    for name, each in value.items()
                }
            case list():
                return [self._settled(each) for each in value]
            case str():
                return _ID.sub(self._id, _TIME.sub(_SOME_TIME, value))
        return value

    def _id(self, found: re.Match[str]) -> str:
        if found[0] == _NOBODY:
            return _NOBODY
        number = len(self._ids) + 1
        return self._ids.setdefault(found[0], f"{number:08x}-0000-4000-8000-{number:012x}")


async def recorded() -> Answers:
    """Return an answer of every operation, by its id and status; those of no operation by none."""
    is_up = True

    async def database_answers() -> bool:
        return is_up

    async with rest_face(database_answers=database_answers) as face:
        recorder = Recorder(face)
        await face.add_nodes("fog-1")
        await _of_accounts(face, recorder)
        await _of_organizations(face, recorder)
        await _of_deployments(face, recorder)
        await _of_jobs(recorder)
        for operation in ("listNodes", "clusterState", "orchestrationServices"):
            await recorder.ask(operation)
        await recorder.ask("getNode", name="fog-1")
        await recorder.fail("getNode", name="nowhere")
        for operation in ("health", "readiness", "healthz", "readyz", "livez"):
            await recorder.ask(operation, who=None)
        await recorder.ask("schedulerStatus", who=None)
        await recorder.ask("systemStatus", who=None)
        is_up = face.ledger.up = face.scheduler.up = False
        for operation in ("health", "readiness", "healthz", "readyz", "schedulerStatus"):
            await recorder.fail(operation, who=None)
        recorder.answers[""] = _of_all()
        return recorder.answers


async def _of_accounts(face: RestFace, recorder: Recorder) -> None:
    for kind, user in (("", _ALICE), ("User", _BOB)):
        made = await recorder.ask(f"register{kind}", user, None)
        face.users[user["username"]] = made["id"]
        await recorder.fail(f"register{kind}", user, None)
        session = await recorder.ask(f"login{kind}", user, None)
        await recorder.fail(f"login{kind}", user | {"password": "wrong horse battery"}, None)
        token = {"refresh_token": session["refresh_token"]}
        await recorder.ask(f"refresh{kind}", token, None)
        await recorder.fail(f"refresh{kind}", token, None)


async def _of_organizations(face: RestFace, recorder: Recorder) -> None:
    ours = await recorder.ask("createOrganization", {"name": "research"})
    own = {"organization_id": ours["id"]}
    await recorder.ask("createCluster", {"name": "edge", "organization_id": ours["id"], **_QUOTA})
    await recorder.ask("joinOrganization", {"invite_code": ours["invite_code"]}, "bob")
    for operation in ("listOrganizations", "listMyOrganizations", "listClusters"):
        await recorder.ask(operation)
    for operation in ("listMembers", "getInviteCode", "getOrganizationQuota"):
        await recorder.ask(operation, **own)
        await recorder.fail(operation, organization_id=99)
    bob = {**own, "user": face.users["bob"]}
    await recorder.ask("setMemberRole", {"role": "viewer"}, **bob)
    await recorder.fail("setMemberRole", {"role": "owner"}, "bob", **bob)
    await recorder.ask("renewInviteCode", {"max_uses": 5, "role": "viewer"}, **own)
    for operation in ("renewInviteCode", "revokeInviteCode", "setOrganizationQuota"):
        await recorder.fail(operation, _QUOTA if "Quota" in operation else {}, organization_id=99)
    await recorder.fail("removeMember", **own, user="nobody")
    await recorder.fail("joinOrganization", {"invite_code": "unknown"})
    await recorder.fail("createCluster", {"name": "edge", "organization_id": 99, **_QUOTA})
    await recorder.ask("setOrganizationQuota", _QUOTA, "root", **own)
    await recorder.fail("setOrganizationQuota", _QUOTA, **own)
    token = {"name": "ci", "scopes": ["deploy"], "expires_in_seconds": 7_776_000}
    await recorder.ask("createToken", token, **own)
    await recorder.ask("listTokens", **own)
    await recorder.fail("createToken", token, organization_id=99)
    await recorder.fail("listTokens", organization_id=99)
    await recorder.fail("revokeToken", **own, token_id=_NOBODY)
    await recorder.ask("setClusterQuota", _QUOTA, cluster_id=2)
    await recorder.fail("setClusterQuota", _QUOTA, cluster_id=99)


async def _of_deployments(face: RestFace, recorder: Recorder) -> None:
    made = await recorder.ask("deploy", deploy_body())
    await recorder.fail("deploy", deploy_body(replicas=11))
    known = {"deployment_id": made["deployment_id"]}
    scheduler = HandScheduler(MemoryLog(face.store, Writer("scheduler", "hand")), face.fold)
    (node_id,) = face.fold.fleet.facts.nodes
    await scheduler.place(made["deployment_id"], node_id)
    await recorder.ask("listDeployments")
    await recorder.ask("explainDeployment", **known)
    await recorder.ask("planDeployment", deploy_body())
    await recorder.ask("updateDeployment", {"container_image": "nginx:1.28"}, **known)
    await recorder.ask("deploymentRollout", **known)
    await recorder.ask("rollbackDeployment", {"to_revision": 1}, **known)
    await recorder.ask("scaleDeployment", {"replicas": 2}, **known)
    await recorder.ask("deploymentStatus", **known)
    await recorder.ask("deleteDeployment", **known)
    await recorder.fail("scaleDeployment", {"replicas": 2}, **known)
    for operation in ("deploymentStatus", "explainDeployment", "deploymentRollout"):
        await recorder.fail(operation, deployment_id=_NOBODY)
    await recorder.fail("deleteDeployment", deployment_id=_NOBODY)


async def _of_jobs(recorder: Recorder) -> None:
    made = await recorder.ask("createJob", _JOB | {"cluster_id": 2, "priority": "HIGH"})
    await recorder.fail("createJob", _JOB | {"cluster_id": 99, "priority": "HIGH"})
    await recorder.ask("listJobs", cluster_id=2)
    await recorder.ask("getJob", deployment_id=made["id"])
    await recorder.fail("getJob", deployment_id=_NOBODY)
    await recorder.ask("updateJob", {"required_cpu": 40}, deployment_id=made["id"])
    await recorder.ask("clusterDeployments", cluster_id=2)
    await recorder.ask("clusterStatus", cluster_id=2)
    for operation in ("clusterStatus", "clusterDeployments", "listJobs"):
        await recorder.fail(operation, cluster_id=99)
    await recorder.fail("updateJob", {"required_cpu": 40}, deployment_id=_NOBODY)


def _of_all() -> dict[str, Any]:
    """Return problems that any operation may answer with, by their status."""
    asked = Request({"type": "http", "headers": [(b"accept", PROBLEM_JSON.encode())]})
    problems = [error_response(asked, error) for error in _ERRORS]
    problems.append(internal_response(asked))
    return {str(each.status_code): json.loads(bytes(each.body)) for each in problems}


def text(answers: Answers) -> bytes:
    """Return what the file of examples holds."""
    return json.dumps(answers, indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n"


if __name__ == "__main__":
    FILE.write_bytes(text(asyncio.run(recorded())))
