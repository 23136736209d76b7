"""The examples in the OpenAPI document: each answer has one, each body has some, and they work.

With an enormous number in any of their fields they are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2

from services.gateway.app.principal import Role
from services.gateway.http_api.answer_examples import FILE
from tests.golden import rest_answers
from tests.support.documented import documented
from tests.support.rest_face import RestFace, deploy_body, rest_face

# What no field takes: integers beyond every float, the largest of floats.
_ENORMOUS = (10**400, -(10**400), 1e308)
# What these name is made up: a session, a code.
_UNKNOWN = {"RefreshBody": 401, "LoginBody": 401, "JoinBody": 404}


def bodies(document: dict[str, Any]) -> list[tuple[str, str, str, list[Any]]]:
    """Return (method, path, schema, examples) of every operation with a body."""
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation:
                (content,) = operation["requestBody"]["content"].values()
                name = content["schema"]["$ref"].rpartition("/")[2]
                schema = document["components"]["schemas"][name]
                found.append((method, path, name, schema.get("examples", [])))
    return found


async def made(admin: httpx2.AsyncClient, face: RestFace) -> dict[str, Any]:
    """Make what the examples are about; return the parts of paths by name."""
    organization = await admin.post("/api/orgs/create", json={"name": "org"})
    quota = {"total_cpu": 80000, "total_ram": 16384, "total_gpu": 2000}
    cluster = {"name": "edge", "organization_id": organization.json()["id"], **quota}
    answer = await admin.post("/api/clusters", json=cluster)
    assert answer.status_code == 201, answer.text
    async with face.client("eve") as eve:
        await eve.post("/api/orgs/join", json={"invite_code": organization.json()["invite_code"]})
    deployed = await admin.post("/api/deployment/deploy", json=deploy_body())
    known = deployed.json()["deployment_id"]
    # So that there is a revision to go back to.
    image = {"container_image": "nginx:1"}
    await admin.post(f"/api/deployment/update/{known}", json=image)
    return {
        "deployment_id": known,
        "organization_id": organization.json()["id"],
        "cluster_id": answer.json()["id"],
        "user": face.users["eve"],
    }


async def test_the_examples_of_bodies_are_accepted() -> None:
    async with rest_face() as face:
        document = face.app.openapi()
        assert document["openapi"].startswith("3.1")
        tried = 0
        for method, path, name, examples in bodies(document):
            assert examples, f"{name} has no example"
            for example in examples:
                async with rest_face() as fresh, fresh.client("root", Role.ADMIN) as admin:
                    where = path.format(**await made(admin, fresh))
                    answer = await admin.request(method, where, json=example)
                    expected = _UNKNOWN.get(name)
                    if expected is None:
                        assert answer.status_code < 300, (method, path, example, answer.text)
                    else:
                        assert answer.status_code == expected, (path, answer.text)
                    tried += 1
        assert tried > 15


async def test_the_examples_of_answers_are_what_the_face_answers() -> None:
    assert FILE.read_bytes() == rest_answers.text(await rest_answers.recorded()), (
        "write them again: python -m tests.golden.rest_answers"
    )


async def test_every_answer_has_an_example_that_fits_its_schema() -> None:
    async with rest_face() as face:
        document, judge = face.app.openapi(), documented(face.app)
        tried = 0
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                for status, response in operation["responses"].items():
                    for kind, content in response.get("content", {}).items():
                        if "json" in kind:
                            named = (method, path, status, kind)
                            assert "example" in content, named
                            problems = judge.problems(content["schema"], content["example"])
                            assert not problems, (*named, problems)
                            tried += 1
        assert tried > 500


async def test_the_examples_of_bodies_fit_their_schemas() -> None:
    async with rest_face() as face:
        document, judge = face.app.openapi(), documented(face.app)
        for method, path, name, examples in bodies(document):
            for example in examples:
                problems = judge.problems(document["components"]["schemas"][name], example)
                assert not problems, (method, path, example, problems)


class Numbers:
    """Bodies with an enormous number in one place, for each place that has a number."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]

    def spoilt(self, schema: dict[str, Any], sample: Any = None) -> Iterator[Any]:
        """Yield a value of a schema, once for each number in it and each that is enormous."""
        schema = self._resolved(schema)
        for each in schema.get("anyOf", ()):
            yield from self.spoilt(each, sample)
        match schema.get("type"):
            case "integer" | "number":
                yield from _ENORMOUS
            case "array":
                yield from ([each] for each in self.spoilt(schema["items"]))
            case "object":
                whole = self._least(schema) if sample is None else sample
                for name, part in schema.get("properties", {}).items():
                    for each in self.spoilt(part, whole.get(name)):
                        yield {**whole, name: each}

    def _least(self, schema: dict[str, Any]) -> Any:
        """Return the least value of a schema."""
        schema = self._resolved(schema)
        if "enum" in schema:
            return schema["enum"][0]
        match schema.get("type"):
            case "object":
                parts = schema.get("properties", {})
                return {name: self._least(parts[name]) for name in schema.get("required", ())}
            case "integer" | "number":
                return schema.get("minimum", 0)
            case "array":
                return []
            case other:
                return {"string": "x", "boolean": True}[str(other)]

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in schema:
            return schema
        found: dict[str, Any] = self._schemas[schema["$ref"].rpartition("/")[2]]
        return found


async def test_no_number_is_too_large_to_be_refused_in_words() -> None:
    async with rest_face() as face, face.client("root", Role.ADMIN) as admin:
        document = face.app.openapi()
        names, numbers, tried = await made(admin, face), Numbers(document), set()
        for method, path, name, examples in bodies(document):
            for body in numbers.spoilt(document["components"]["schemas"][name], examples[0]):
                answer = await admin.request(method, path.format(**names), json=body)
                assert 400 <= answer.status_code < 500, (method, path, body, answer.text)
                assert len(answer.json()["detail"]) < 1_000, (method, path, body)
                tried.add(name)
        assert {"DeployBody", "ScaleBody", "UpdateBody", "TokenBody", "JobBody"} <= tried


async def test_every_operation_has_a_summary_of_its_own() -> None:
    async with rest_face() as face:
        paths = face.app.openapi()["paths"]
    told = [operation["summary"] for path in paths.values() for operation in path.values()]
    assert len(set(told)) == len(told)
    assert "List jobs" in told
