"""What is wrong with a request, in words: the field, what it must be, and what was given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from fogbank.domain.errors import FieldViolation, InvalidArgumentError

# Fields of later releases: refused like unknown ones, but people should know that they will come.
NOT_YET = frozenset({"affinity", "gpu_share", "ports", "probes"})
# Fields whose values are nobody's to see, not even in an answer that somebody may log.
SECRET = frozenset({"env", "password", "refresh_token", "invite_code"})

# Of strings that mean something else.
_FORMATS = {
    "date-time": "must be a time such as 2026-01-31T12:00:00Z, or a date",
    "uuid": "must be a valid UUID",
}
_LONGEST_SHOWN = 60
_MOST_PROBLEMS = 10


def shown(value: object) -> str:
    """Return what was given as JSON, cut to a readable length."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return "something unreadable"
    if len(text) <= _LONGEST_SHOWN:
        return text
    return f"{text[:_LONGEST_SHOWN]}... ({len(text)} characters)"


def describe_body(error: ValidationError, model: type[BaseModel]) -> InvalidArgumentError:
    """Return what is wrong with a body, all of it (up to 10 problems)."""
    violations = [
        _violation(each, model)
        for each in error.errors(include_url=False, include_context=True)[:_MOST_PROBLEMS]
    ]
    return _refusal(violations)


def describe_parameters(
    errors: Sequence[Mapping[str, Any]], schemas: Mapping[str, Mapping[str, Any]] | None = None
) -> InvalidArgumentError:
    """Return what is wrong with path, query or header parameters, as FastAPI reports it.

    `schemas` has the JSON schema of each parameter by its name; with it the bounds are named.
    """
    violations = []
    for each in errors[:_MOST_PROBLEMS]:
        name = ".".join(str(part) for part in each["loc"][1:]) or str(each["loc"][0])
        message = _wanted(_given((schemas or {}).get(name, {}))) or _lowered(each["msg"])
        if each["type"] == "extra_forbidden":
            description = "is not a known parameter"
        elif each["type"] == "missing":
            description = "is required"
        else:
            description = f"{message}, got {shown(each.get('input'))}"
        violations.append(FieldViolation(name, description))
    return _refusal(violations)


def _refusal(violations: Sequence[FieldViolation]) -> InvalidArgumentError:
    text = "; ".join(f"{each.field}: {each.description}" for each in violations)
    return InvalidArgumentError(text, violations=tuple(violations))


def _violation(error: Any, model: type[BaseModel]) -> FieldViolation:
    location: tuple[int | str, ...] = error["loc"]
    kind, given = error["type"], error.get("input")
    if kind == "json_invalid":
        return FieldViolation("body", f"must be valid JSON, but {error['ctx']['error']}")
    field = _path(location) or "body"
    schema = _schema_at(model, location)
    if kind == "missing":
        wanted = _wanted(_given(schema))
        return FieldViolation(field, f"is required and {wanted}" if wanted else "is required")
    if kind == "extra_forbidden":
        if location[-1] in NOT_YET:
            return FieldViolation(field, "is not supported yet")
        allowed = sorted(_schema_at(model, location[:-1]).get("properties", {}))
        return FieldViolation(field, f"is not a known field; allowed are {', '.join(allowed)}")
    wanted = error["msg"]
    if kind != "wanted":
        wanted = _wanted(_given(schema)) or _lowered(error["msg"])
    if any(part in SECRET for part in location):
        return FieldViolation(field, f"{wanted}, got {_kind(given)}")
    return FieldViolation(field, f"{wanted}, got {shown(given)}")


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            text = part if len(part) <= _LONGEST_SHOWN else f"{part[:_LONGEST_SHOWN]}..."
            path += f".{text}" if path else text
    return path


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _schema_at(model: type[BaseModel], location: tuple[int | str, ...]) -> dict[str, Any]:
    """Return the JSON schema of the place in a body that a location names; {} if there is none."""
    root = _schema(model)
    schema: Any = root
    for part in location:
        if isinstance(part, int):
            schema = schema.get("items", {})
        else:
            schema = schema.get("properties", {}).get(part) or schema.get(
                "additionalProperties", {}
            )
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema if isinstance(schema, dict) else {}


def _given(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a value that is there; its own one may allow null too."""
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return {**schema, **choices[0]} if choices else schema


def _wanted(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return f"must be one of {list(schema['enum'])}"
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    low, high = schema.get("minimum"), schema.get("maximum")
    range_ = f" between {low} and {high}" if high is not None else ""
    if not range_ and low is not None:
        range_ = f" of at least {low}"
    match schema.get("type"):
        case "integer":
            return f"must be an integer{range_}"
        case "number":
            return f"must be a number{range_}"
        case "string" if "maxLength" in schema:
            shortest, longest = schema.get("minLength", 0), schema["maxLength"]
            return f"must be a string of {shortest} to {longest} characters"
        case "string":
            return "must be a string"
        case "boolean":
            return "must be true or false"
        case "object":
            return "must be an object"
        case "array":
            return "must be an array"
    return ""


def _lowered(message: str) -> str:
    """Return one of pydantic's messages as the rest of a sentence about the field."""
    for opening in ("Input should be", "Value error,"):
        if message.startswith(opening):
            rest = message.removeprefix(opening).strip()
            return f"must be {rest}" if opening.startswith("Input") else rest
    return message[:1].lower() + message[1:]


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number"}
    names |= {str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "something else")
