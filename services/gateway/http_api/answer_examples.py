"""Examples of answers for the OpenAPI document, recorded from the face itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from services.gateway.http_api.errors import PROBLEM_JSON

# By operation and status; those of no operation (the empty id) are of all that have none of theirs.
FILE = Path(__file__).with_name("answer_examples.json")
_JSON = "application/json"


def give_examples(document: dict[str, Any]) -> None:
    """Give every answer in a document its example."""
    recorded = json.loads(FILE.read_bytes())
    for path in document["paths"].values():
        for operation in path.values():
            own = recorded.get(operation["operationId"], {})
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                if PROBLEM_JSON in content:
                    problem = own.get(status) or recorded[""][status]
                    content[PROBLEM_JSON]["example"] = problem
                    content[_JSON]["example"] = {"detail": problem["detail"]}
                elif _JSON in content and status in own:
                    content[_JSON]["example"] = own[status]
