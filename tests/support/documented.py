"""Whether answers of the REST face are what its OpenAPI document says."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import jsonschema_rs
from fastapi import FastAPI

_JSON = "application/json"


class Documented:
    """Judges answers by a document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._components = document["components"]
        # What has fewer parts that vary is the better match.
        self._paths = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), document["paths"][path])
            for path in sorted(document["paths"], key=lambda path: path.count("{"))
        ]
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    async def check(self, answer: httpx2.Response) -> None:
        """Fail unless an answer in JSON is one of those that the document names.

        What the document doesn't have, such as a path that nobody serves, is not judged.
        """
        responses = self._responses(answer.request)
        if responses is None or answer.headers.get("content-type") != _JSON:
            return
        await answer.aread()
        asked = f"{answer.request.method} {answer.request.url.path}"
        assert str(answer.status_code) in responses, f"{asked} never answers {answer.status_code}"
        content = responses[str(answer.status_code)]["content"]
        problems = self.problems(content[_JSON]["schema"], answer.json())
        assert not problems, f"{asked} {answer.status_code}: {problems}"

    def problems(self, schema: dict[str, Any], value: Any) -> list[str]:
        """Return what is wrong with a value by one of the document's schemas."""
        return [
            f"{'.'.join(map(str, each.instance_path))}: {each.message}"
            for each in self._validator(schema).iter_errors(value)
        ]

    def _responses(self, request: httpx2.Request) -> dict[str, Any] | None:
        for pattern, operations in self._paths:
            if pattern.fullmatch(request.url.path):
                operation = operations.get(request.method.lower())
                return operation["responses"] if operation else None
        return None

    def _validator(self, schema: dict[str, Any]) -> jsonschema_rs.Validator:
        whole = schema | {"components": self._components}
        key = str(schema)
        if key not in self._validators:
            validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
            self._validators[key] = validator
        return self._validators[key]


class _Faces:
    """All faces of a process have the same document, which takes half a second to make."""

    def __init__(self) -> None:
        self._documented: Documented | None = None

    def of(self, app: FastAPI) -> Documented:
        if self._documented is None:
            self._documented = Documented(app.openapi())
        return self._documented


_faces = _Faces()


def documented(app: FastAPI) -> Documented:
    """Return what judges the answers of a face."""
    return _faces.of(app)
