"""What a caller asks for, checked and completed: every face of the gateway goes through here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from fogbank.domain.containers import PLAIN_CONTAINER, ContainerSpec
from fogbank.domain.deployment import (
    DEFAULT_CLUSTER_ID,
    DEFAULT_PRIORITY,
    DEFAULT_REGION,
    PRIORITY_WORDS,
    Constraint,
    DeploymentSpec,
    DisconnectRules,
    RolloutSpec,
)
from fogbank.domain.errors import FieldViolation, InvalidArgumentError
from fogbank.domain.policy import STRATEGY_NAMES
from fogbank.domain.resources import Resources
from fogbank.domain.states import ConstraintOperator, RestartPolicy, ServiceType
from services.gateway.core.bounds import Amount, Bounds, shown_number
from services.gateway.core.container_bounds import container_problems
from services.gateway.core.disconnecting import disconnect_problems

MAX_NAME = 100
MAX_IMAGE = 512
MAX_REQUEST_ID = 128
MAX_PRIORITY = 100
MAX_LABELS = 64
MAX_LABEL_KEY = 128
MAX_LABEL_VALUE = 256
MAX_CONSTRAINTS = 32
MAX_CONSTRAINT_VALUES = 64
MAX_ENV_ENTRIES = 256
MAX_ENV_NAME = 256
MAX_ENV_BYTES = 64 * 1024
MAX_ROLLOUT_STEP = 1_000
MAX_ROLLOUT_MS = 24 * 3600 * 1_000
CLUSTER = Amount("cluster_id", 1, (1 << 63) - 1)
_SHOWN = 40

_REGION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})")
_ENV_NAME = re.compile(r"[^=\0]+")
_ATTRIBUTE = re.compile(r"region|arch|node|label\..{1,128}")


@dataclass(frozen=True, slots=True)
class Ask:
    """A deployment as asked for: typed, in the system's units, not yet checked.

    Amounts may be fractions (0.25 millicores) so that a face can be told what it was given; None
    stands for not given. `type` is the number or the word, `priority` a number or a word.
    """

    name: str
    type: ServiceType | str | int
    container_image: str
    replicas: int
    cpu_millicores: float
    memory_mib: float
    storage_gib: float = 10
    gpu_thousandths: float = 0
    region: str = ""
    priority: int | str | None = None
    cluster_id: int | None = None
    strategy: str = ""
    wait_for_capacity: bool = False
    constraints: tuple[Constraint, ...] = ()
    gpu_model: str = ""
    restart: RestartPolicy | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    allow_colocation: bool = False
    rollout: RolloutSpec = field(default_factory=RolloutSpec)
    disconnect: DisconnectRules = field(default_factory=DisconnectRules)
    container: ContainerSpec = PLAIN_CONTAINER
    env: Mapping[str, str] = field(default_factory=dict)


class _Problems:
    """Collects what is wrong, so that a caller hears of everything at once."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._violations: list[FieldViolation] = []
        self._texts: list[str] = []

    def add(self, path: str, description: str, text: str | None = None) -> None:
        self._violations.append(FieldViolation(path, description))
        self._texts.append(text or f"{path}: {description}")

    def field(self, name: str, description: str | None, text: str | None = None) -> None:
        if description is not None:
            self.add(self._prefix + name, description, text)

    def amount(self, amount: Amount, value: float) -> None:
        problem = amount.problem(value)
        if problem is not None:
            self.add(amount.path, problem)

    def check(self) -> None:
        """Raise InvalidArgumentError if anything is wrong."""
        if self._texts:
            raise InvalidArgumentError("; ".join(self._texts), violations=tuple(self._violations))


def spec_of(ask: Ask, bounds: Bounds) -> DeploymentSpec:
    """Return the spec that an ask comes to, with defaults filled in.

    Raises:
        InvalidArgumentError: names each field that is wrong, its bounds and what was given.
    """
    problems = _Problems(bounds.prefix)
    problems.field("name", _text(ask.name, MAX_NAME))
    service_type = _type(ask.type, problems)
    problems.field("container_image", _image(ask.container_image))
    problems.amount(bounds.replicas, ask.replicas)
    _amounts(ask, bounds, problems)
    if ask.region and not _REGION.fullmatch(ask.region):
        problems.field(
            "region", f"must be 1 to 63 letters, digits, '.', '_' or '-', got {_shown(ask.region)}"
        )
    priority = _priority(ask.priority, problems)
    if ask.cluster_id is not None:
        problems.field("cluster_id", CLUSTER.problem(ask.cluster_id))
    if ask.strategy and ask.strategy not in STRATEGY_NAMES:
        problems.field(
            "strategy", f"must be one of {list(STRATEGY_NAMES)}, got {_shown(ask.strategy)}"
        )
    if ask.gpu_model:
        problems.field("gpu_model", _text(ask.gpu_model, MAX_NAME))
    _constraints(ask.constraints, problems)
    _labels(ask.labels, problems)
    _rollout(ask.rollout, problems)
    for name, description in disconnect_problems(ask.disconnect):
        problems.field(name, description)
    for name, description in container_problems(ask.container, ask.storage_gib):
        problems.field(f"container.{name}", description)
    _env(ask.env, problems)
    problems.check()
    return DeploymentSpec(
        name=ask.name,
        type=service_type,
        container_image=ask.container_image,
        replicas=ask.replicas,
        resources=Resources(
            round(ask.cpu_millicores),
            round(ask.memory_mib),
            round(ask.storage_gib),
            round(ask.gpu_thousandths),
        ),
        region=ask.region or DEFAULT_REGION,
        priority=priority,
        cluster_id=DEFAULT_CLUSTER_ID if ask.cluster_id is None else ask.cluster_id,
        strategy=ask.strategy,
        wait_for_capacity=ask.wait_for_capacity,
        constraints=ask.constraints,
        gpu_model=ask.gpu_model,
        restart=ask.restart or RestartPolicy.ALWAYS,
        labels=dict(ask.labels),
        allow_colocation=ask.allow_colocation,
        rollout=ask.rollout,
        disconnect=ask.disconnect,
        container=ask.container,
    )


def checked_cluster(cluster_id: int) -> int:
    """Return the number of a cluster that a deployment is to move to.

    Raises:
        InvalidArgumentError: no cluster can have it.
    """
    if (problem := CLUSTER.problem(cluster_id)) is not None:
        raise InvalidArgumentError.of_field(CLUSTER.path, problem)
    return cluster_id


def ask_of(spec: DeploymentSpec) -> Ask:
    """Return the ask that comes to a spec, without an environment, for some of it to change."""
    amounts = spec.resources
    same = {each.name for each in fields(Ask)} & {each.name for each in fields(DeploymentSpec)}
    return Ask(
        cpu_millicores=amounts.cpu_millicores,
        memory_mib=amounts.memory_mib,
        storage_gib=amounts.storage_gib,
        gpu_thousandths=amounts.gpu_thousandths,
        **{name: getattr(spec, name) for name in same},
    )


def check_image(image: str, field_: str) -> None:
    """Raise InvalidArgumentError unless a text can name an image; `field_` is the face's name."""
    problem = _image(image)
    if problem is not None:
        raise InvalidArgumentError.of_field(field_, problem)


def check_replicas(replicas: int, amount: Amount) -> None:
    """Raise InvalidArgumentError unless a number of replicas is within its bounds."""
    problem = amount.problem(replicas)
    if problem is not None:
        raise InvalidArgumentError.of_field(amount.path, problem)


def check_revision(number: int) -> None:
    """Raise InvalidArgumentError for a number that no revision has, nor stands for the one before.

    Which there are, the deployment itself says.
    """
    if number < 0:
        raise InvalidArgumentError.of_field(
            "to_revision", f"must be at least 0, got {shown_number(number)}"
        )


def check_request_id(request_id: str) -> None:
    """Raise InvalidArgumentError for a request id that is too long or not printable."""
    if request_id and (problem := _text(request_id, MAX_REQUEST_ID)):
        raise InvalidArgumentError.of_field("request_id", problem)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _text(text: str, longest: int) -> str | None:
    if not 1 <= len(text) <= longest:
        return f"must be 1 to {longest} characters, got {len(text)}"
    if not text.isprintable():
        return f"must be printable, got {_shown(text)}"
    return None


def _image(image: str) -> str | None:
    problem = _text(image, MAX_IMAGE)
    if problem is None and any(character.isspace() for character in image):
        return f"must hold no space, got {_shown(image)}"
    return problem


def _type(given: ServiceType | str | int, problems: _Problems) -> ServiceType:
    words = {member.name.lower(): member for member in ServiceType}
    if isinstance(given, str) and given in words:
        return words[given]
    if not isinstance(given, str) and given in set(ServiceType):
        return ServiceType(given)
    shown = _shown(given) if isinstance(given, str) else given or "none"
    problems.field(
        "type",
        f"must be one of {list(words)}, got {shown}",
        f"Invalid type. Must be one of: {list(words)}",
    )
    return ServiceType.COMPUTE


def _amounts(ask: Ask, bounds: Bounds, problems: _Problems) -> None:
    problems.amount(bounds.cpu, ask.cpu_millicores)
    problems.amount(bounds.memory, ask.memory_mib)
    problems.amount(bounds.storage, ask.storage_gib)
    problems.amount(bounds.gpu, ask.gpu_thousandths)


def _priority(given: int | str | None, problems: _Problems) -> int:
    if given is None:
        return DEFAULT_PRIORITY
    number = PRIORITY_WORDS.get(given.lower()) if isinstance(given, str) else given
    if number is None or not 0 <= number <= MAX_PRIORITY:
        shown = _shown(given) if isinstance(given, str) else shown_number(given)
        words = ", ".join(PRIORITY_WORDS)
        problems.field("priority", f"must be 0 to {MAX_PRIORITY} or one of {words}, got {shown}")
        return DEFAULT_PRIORITY
    return number


def _constraints(constraints: tuple[Constraint, ...], problems: _Problems) -> None:
    if len(constraints) > MAX_CONSTRAINTS:
        problems.field("constraints", f"must be at most {MAX_CONSTRAINTS}, got {len(constraints)}")
        return
    for index, constraint in enumerate(constraints):
        path = f"constraints[{index}]"
        if not (_ATTRIBUTE.fullmatch(constraint.attribute) and constraint.attribute.isprintable()):
            problems.field(
                f"{path}.attribute",
                f"must be region, arch, node or label.<key>, got {_shown(constraint.attribute)}",
            )
        problems.field(f"{path}.values", _constraint_values(constraint))


def _constraint_values(constraint: Constraint) -> str | None:
    given = len(constraint.values)
    for value in constraint.values:
        if problem := _text(value, MAX_LABEL_VALUE):
            return problem
    match constraint.operator:
        case ConstraintOperator.EQUAL | ConstraintOperator.NOT_EQUAL:
            return None if given == 1 else f"must be exactly one value, got {given}"
        case ConstraintOperator.IN:
            if 1 <= given <= MAX_CONSTRAINT_VALUES:
                return None
            return f"must be 1 to {MAX_CONSTRAINT_VALUES} values, got {given}"
        case ConstraintOperator.EXISTS:
            return None if given == 0 else f"must be empty, got {given}"


def _labels(labels: Mapping[str, str], problems: _Problems) -> None:
    if len(labels) > MAX_LABELS:
        problems.field("labels", f"must be at most {MAX_LABELS}, got {len(labels)}")
        return
    for key, value in labels.items():
        if problem := _text(key, MAX_LABEL_KEY):
            problems.field("labels", f"a key {problem}")
        if value and (problem := _text(value, MAX_LABEL_VALUE)):
            problems.field(f"labels[{_shown(key)}]", problem)


def _rollout(rollout: RolloutSpec, problems: _Problems) -> None:
    for name, value, most in (
        ("max_surge", rollout.max_surge, MAX_ROLLOUT_STEP),
        ("max_unavailable", rollout.max_unavailable, MAX_ROLLOUT_STEP),
        ("min_healthy_ms", rollout.min_healthy_ms, MAX_ROLLOUT_MS),
        ("progress_deadline_ms", rollout.progress_deadline_ms, MAX_ROLLOUT_MS),
    ):
        if not 0 <= value <= most:
            problems.field(
                f"rollout.{name}", f"must be between 0 and {most}, got {shown_number(value)}"
            )
    if rollout.max_surge == rollout.max_unavailable == 0:
        problems.field("rollout", "must have max_surge or max_unavailable above 0, got 0 for both")
    if rollout.progress_deadline_ms <= rollout.min_healthy_ms:
        problems.field(
            "rollout.progress_deadline_ms",
            f"must be above min_healthy_ms, got {shown_number(rollout.progress_deadline_ms)}",
        )


def _env(env: Mapping[str, str], problems: _Problems) -> None:
    """Check an environment; its values never appear in a message."""
    if len(env) > MAX_ENV_ENTRIES:
        problems.add("env", f"must be at most {MAX_ENV_ENTRIES} entries, got {len(env)}")
        return
    size = 0
    for name, value in env.items():
        if not (
            1 <= len(name) <= MAX_ENV_NAME and name.isprintable() and _ENV_NAME.fullmatch(name)
        ):
            problems.add(
                "env",
                f"a name must be 1 to {MAX_ENV_NAME} printable characters without '=', "
                f"got {_shown(name)}",
            )
            continue
        try:
            size += len(name.encode()) + len(value.encode())
        except UnicodeEncodeError:
            problems.add(f"env[{_shown(name)}]", "must be text that UTF-8 can carry")
        if "\0" in value:
            problems.add(f"env[{_shown(name)}]", "must not hold a zero character")
    if size > MAX_ENV_BYTES:
        problems.add("env", f"must be at most {MAX_ENV_BYTES} bytes in all, got {size}")
