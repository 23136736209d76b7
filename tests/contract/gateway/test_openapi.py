"""The REST face keeps what its OpenAPI document says, whatever is sent."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis import checks as known
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from services.gateway.http_api.server import HttpServer
from tests.support.rest_face import rest_face


def wrong_data_is_refused(context: Any, response: Any, case: Any) -> bool | None:
    """Check as `negative_data_rejection` does, unless what was wrong never went out.

    An unknown parameter whose value is an empty list leaves no trace in the address.
    """
    sent = parse_qs(urlsplit(response.request.url).query, keep_blank_values=True)
    if set(case.query or {}) - sent.keys():
        return None
    refused: bool | None = checks.negative_data_rejection(context, response, case)
    return refused


# Positive data may still be refused: that a text is printable is beyond a JSON schema.
CHECKS = [
    known.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    wrong_data_is_refused,
    checks.missing_required_header,
    checks.unsupported_method,
    checks.ignored_auth,
]


@dataclass
class Address:
    url: str
    token: str


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    """A served face in a thread with an event loop of its own."""
    found: list[Address] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with rest_face() as face:
            await face.add_nodes("edge-1", "edge-2")
            server = HttpServer(face.app, "127.0.0.1:0")
            running = asyncio.create_task(server.run())
            found.append(Address(f"http://127.0.0.1:{server.port}", face.token()))
            started.set()
            await asyncio.to_thread(stop.wait)
            server.stop()
            await running

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(60)
    yield found[0]
    stop.set()
    thread.join(30)


MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_answer_is_documented(address: Address, mode: GenerationMode) -> None:
    _every_answer_is_documented(address, mode, 30)


@pytest.mark.soak
@pytest.mark.parametrize("mode", MODES)
def test_every_answer_is_documented_at_length(address: Address, mode: GenerationMode) -> None:
    _every_answer_is_documented(address, mode, 1_000)


def _every_answer_is_documented(address: Address, mode: GenerationMode, examples: int) -> None:
    whole = schemathesis.openapi.from_url(f"{address.url}/openapi.json")
    # An event stream has no end to wait for.
    document = whole.exclude(path="/api/events")
    headers = {"Authorization": f"Bearer {address.token}"}
    problems, tried = [], 0

    for result in document.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # else it raises, as it should
        tried += 1
        try:
            _try_out(operation, mode, headers, examples)
        except Unsatisfiable:
            continue  # nothing to get wrong: no parameters, no body
        except (Exception, FailureGroup) as error:  # noqa: BLE001 (every operation gets its turn)
            problems.append(f"{operation.method.upper()} {operation.path}: {error}")
    assert tried > 20
    assert not problems, "\n\n".join(problems)


def _try_out(operation: Any, mode: GenerationMode, headers: dict[str, str], examples: int) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
        deadline=None,
    )
    def check(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    check()
