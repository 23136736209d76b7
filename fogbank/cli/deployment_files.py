"""Deployments as text: files with the fields of the REST face, and what flags say.

Only form is checked here (names of fields, kinds of values); bounds are the server's to judge, so
that there is one place that knows them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fogbank.cli.container_text import container_message
from fogbank.cli.failures import UsageFailure
from fogbank.domain.deployment import PRIORITY_WORDS, RolloutSpec

SERVICE_TYPES = ("compute", "storage", "gateway", "mixnode")
RESTARTS = ("always", "on-failure", "never")
OPERATORS = ("equal", "not_equal", "in", "exists")


@dataclass(frozen=True, slots=True)
class ConstraintText:
    """A demand on nodes."""

    attribute: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DisconnectText:
    """What becomes of replicas whose node is cut off; milliseconds, 0 for the default."""

    lost_after_ms: int = 0
    replace: bool = True
    stop_on_client_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class DeploymentText:
    """A deployment as it is asked for. cpu in cores, memory in MiB, storage in GiB, gpu in devices.

    An empty region is the server's to fill in; without an `env`, an update leaves it as it is.
    """

    name: str
    container_image: str
    type: str = "compute"
    replicas: int = 1
    cpu: float = 1.0
    memory: int = 512
    gpu: float = 0
    storage: int = 10
    env: Mapping[str, str] | None = field(default=None, repr=False)
    region: str = ""
    priority: int | None = None
    cluster_id: int = 0
    strategy: str = ""
    wait_for_capacity: bool = False
    constraints: tuple[ConstraintText, ...] = ()
    gpu_model: str = ""
    restart: str = "always"
    labels: Mapping[str, str] = field(default_factory=dict)
    allow_colocation: bool = False
    rollout: RolloutSpec = field(default_factory=RolloutSpec)
    disconnect: DisconnectText = DisconnectText()
    container: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""


def read_deployments(path: Path) -> list[DeploymentText]:
    """Read all documents of a YAML (or JSON) file; `-` is standard input.

    Raises:
        UsageFailure: it can't be read, or says something that makes no sense; names the field.
    """
    import sys

    import yaml

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except OSError as error:
        raise UsageFailure(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageFailure(f"{path} is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise UsageFailure(f"{path} is not YAML: {error}") from error
    if not documents:
        raise UsageFailure(f"{path} is empty")
    several = len(documents) > 1
    return [
        _deployment(document, f"{path}, document {number}" if several else str(path))
        for number, document in enumerate(documents, start=1)
    ]


class _Fields:
    """Takes fields out of a mapping and complains about what is missing, wrong or left over."""

    def __init__(self, content: object, where: str) -> None:
        if not isinstance(content, dict):
            raise UsageFailure(f"{where}: expected fields such as `name: web`, got {content!r}")
        self._content: dict[Any, Any] = dict(content)
        self._known: list[str] = []
        self._where = where

    def text(self, name: str, default: str | None = None) -> str:
        return str(self._take(name, default, lambda value: isinstance(value, str), "text"))

    def whole(self, name: str, default: int | None = None) -> int:
        return int(self._take(name, default, _is_whole, "a whole number"))

    def number(self, name: str, default: float | None = None) -> float:
        return float(self._take(name, default, _is_number, "a number"))

    def flag(self, name: str, *, default: bool) -> bool:
        return bool(
            self._take(name, default, lambda value: isinstance(value, bool), "true or false")
        )

    def texts(self, name: str) -> dict[str, str]:
        kind = "names with texts, such as `A: b` (put numbers in quotes)"
        return dict(self._take(name, {}, _is_texts, kind))

    def optional_texts(self, name: str) -> dict[str, str] | None:
        given = name in self._content
        texts = self.texts(name)
        return texts if given else None

    def word(self, name: str, words: tuple[str, ...], default: str | None = None) -> str:
        return str(
            self._take(
                name,
                default,
                lambda value: isinstance(value, str) and value in words,
                f"one of {list(words)}",
            )
        )

    def take(self, name: str) -> Any:
        self._known.append(name)
        return self._content.pop(name, None)

    def finish(self) -> None:
        if self._content:
            unknown = next(iter(self._content))
            raise UsageFailure(
                f"{self._where}: unknown field {unknown!r}; known are {', '.join(self._known)}"
            )

    def _take(self, name: str, default: object, fits: Callable[[object], bool], kind: str) -> Any:
        self._known.append(name)
        value = self._content.pop(name, default)
        if value is None:
            raise UsageFailure(f"{self._where}: {name} is missing")
        if not fits(value):
            raise UsageFailure(f"{self._where}: {name} must be {kind}, got {value!r}")
        return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and isinstance(text, str) for key, text in value.items()
    )


def _deployment(document: object, where: str) -> DeploymentText:
    fields = _Fields(document, where)
    resources = _resources(fields.take("resources"), where)
    made = DeploymentText(
        name=fields.text("name"),
        container_image=fields.text("container_image"),
        type=fields.word("type", SERVICE_TYPES),
        replicas=fields.whole("replicas"),
        cpu=resources.number("cpu"),
        memory=resources.whole("memory"),
        gpu=resources.number("gpu", 0),
        storage=resources.whole("storage", 10),
        env=fields.optional_texts("env"),
        region=fields.text("region", ""),
        priority=_priority(fields.take("priority"), where),
        cluster_id=fields.whole("cluster_id", 0),
        strategy=fields.text("strategy", ""),
        wait_for_capacity=fields.flag("wait_for_capacity", default=False),
        constraints=_constraints(fields.take("constraints"), where),
        gpu_model=fields.text("gpu_model", ""),
        restart=fields.word("restart", RESTARTS, "always"),
        labels=fields.texts("labels"),
        allow_colocation=fields.flag("allow_colocation", default=False),
        rollout=_rollout(fields.take("rollout"), where),
        disconnect=_disconnect(fields.take("disconnect"), where),
        container=_container(fields.take("container"), where),
        request_id=fields.text("request_id", ""),
    )
    resources.finish()
    fields.finish()
    return made


def _resources(value: object, where: str) -> _Fields:
    if not isinstance(value, dict):
        given = "is missing" if value is None else f"is {value!r}"
        raise UsageFailure(
            f"{where}: resources {given}; write what each replica needs, "
            "such as `resources: {cpu: 1.0, memory: 512}`"
        )
    return _Fields(value, f"{where}: resources")


def _rollout(value: object, where: str) -> RolloutSpec:
    if value is None:
        return RolloutSpec()
    fields, usual = _Fields(value, f"{where}: rollout"), RolloutSpec()
    text = RolloutSpec(
        fields.whole("max_surge", usual.max_surge),
        fields.whole("max_unavailable", usual.max_unavailable),
        fields.whole("min_healthy_ms", usual.min_healthy_ms),
        fields.whole("progress_deadline_ms", usual.progress_deadline_ms),
        fields.flag("auto_rollback", default=usual.auto_rollback),
    )
    fields.finish()
    return text


def _disconnect(value: object, where: str) -> DisconnectText:
    if value is None:
        return DisconnectText()
    fields = _Fields(value, f"{where}: disconnect")
    text = DisconnectText(
        fields.whole("lost_after_ms", 0),
        fields.flag("replace", default=True),
        fields.whole("stop_on_client_after_ms", 0),
    )
    fields.finish()
    return text


def _container(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageFailure(f"{where}: container must be fields such as `ports`, got {value!r}")
    container_message(value, where)
    return value


def _priority(value: object, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        return parse_priority(value, f"{where}: priority")
    raise UsageFailure(f"{where}: priority must be a number or a word, got {value!r}")


def parse_priority(text: str, where: str) -> int:
    """Return the number that a priority's number or word stands for."""
    if text.isdecimal():
        return int(text)
    number = PRIORITY_WORDS.get(text.lower())
    if number is None:
        raise UsageFailure(
            f"{where} must be 0 to 100 or one of {', '.join(PRIORITY_WORDS)}, got {text!r}"
        )
    return number


def _constraints(value: object, where: str) -> tuple[ConstraintText, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise UsageFailure(f"{where}: constraints must be a list, got {value!r}")
    return tuple(
        parse_constraint(entry, f"{where}: constraint {number}")
        if isinstance(entry, str)
        else _constraint(entry, f"{where}: constraint {number}")
        for number, entry in enumerate(value, start=1)
    )


def _constraint(entry: object, where: str) -> ConstraintText:
    fields = _Fields(entry, where)
    attribute, operator = fields.text("attribute"), fields.word("operator", OPERATORS)
    values = fields.take("values") or []
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise UsageFailure(f"{where}: values must be a list of texts, got {values!r}")
    fields.finish()
    return ConstraintText(attribute, operator, tuple(values))


def parse_constraint(text: str, where: str) -> ConstraintText:
    """Read `region=us-east`, `label.disk!=hdd`, `region in us-east,us-west` or `label.gpu`.

    Raises:
        UsageFailure: it is none of these.
    """
    for sign, operator in (("!=", "not_equal"), ("==", "equal"), ("=", "equal")):
        attribute, found, value = text.partition(sign)
        if found:
            if not attribute.strip() or not value.strip():
                break
            return ConstraintText(attribute.strip(), operator, (value.strip(),))
    else:
        attribute, found, listed = text.partition(" in ")
        values = tuple(part.strip() for part in listed.split(",") if part.strip())
        if found and attribute.strip() and values:
            return ConstraintText(attribute.strip(), "in", values)
        if not found and text.strip() and " " not in text.strip():
            return ConstraintText(text.strip(), "exists")
    raise UsageFailure(
        f"{where}: {text!r} is none of region=us-east, label.disk!=hdd, "
        "'region in us-east,us-west', label.gpu"
    )


def parse_pair(text: str, where: str) -> tuple[str, str]:
    """Read KEY=VALUE; the value may be empty and may hold more equals signs."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageFailure(f"{where} {text!r} is not KEY=VALUE")
    return key, value
