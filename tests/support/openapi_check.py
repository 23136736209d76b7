"""The REST face's OpenAPI document, held against what the face answers to data made from it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis import checks as known
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

_log = logging.getLogger(__name__)

MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


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


def assert_every_answer_is_documented(
    url: str, sign_in: Callable[[], str], mode: GenerationMode, examples: int
) -> None:
    """Try every operation with so many examples; each begins with a token of its own."""
    whole = schemathesis.openapi.from_url(f"{url}/openapi.json")
    # An event stream has no end to wait for.
    document = whole.exclude(path="/api/events")
    problems, tried = [], 0

    for result in document.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # else it raises, as it should
        tried += 1
        headers = {"Authorization": f"Bearer {sign_in()}"}
        name = f"{operation.method.upper()} {operation.path}"
        answers: Counter[int] = Counter()
        begun = time.monotonic()
        try:
            _try_out(operation, mode, headers, examples, answers)
        except Unsatisfiable:
            continue  # nothing to get wrong: no parameters, no body
        except (Exception, FailureGroup) as error:  # noqa: BLE001 (every operation gets its turn)
            problems.append(f"{name}: {error}")
            _log.exception("%s", name)
        finally:
            told = ", ".join(f"{status}: {count}" for status, count in sorted(answers.items()))
            _log.info("%s in %.0f s: %s", name, time.monotonic() - begun, told or "nothing to try")
    assert tried > 20
    assert not problems, "\n\n".join(problems)


def _try_out(
    operation: Any,
    mode: GenerationMode,
    headers: dict[str, str],
    examples: int,
    answers: Counter[int],
) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
        deadline=None,
    )
    def check(case: Any) -> None:
        answers[case.call_and_validate(headers=headers, checks=CHECKS).status_code] += 1

    check()
