"""What callers wish for: deployments, what they change about them, and what they were told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from fogbank.domain.deployment import DeploymentSpec, RolloutSpec
from fogbank.domain.resources import Resources
from fogbank.domain.revisions import with_replicas_of
from fogbank.domain.states import RestartPolicy, ServiceType
from fogbank.placement.strategies import STRATEGIES
from tests.simulation.machines import GOOD_IMAGES, ends_badly
from tests.simulation.plan import Plan

Kind = Literal["create", "scale", "delete", "update", "undo"]
_STRATEGIES = sorted(STRATEGIES)


def a_deployment(
    name: str, random: Random, apart: Random, later: Random, plan: Plan
) -> DeploymentSpec:
    """Draw what a caller asks for; each generator is one that later additions do not move."""
    spec = DeploymentSpec(
        name=name,
        type=ServiceType.COMPUTE,
        container_image=random.choice(("web", "web", "web", "flaky:5", "job:4", "crash:3")),
        replicas=random.choices((1, 2, 3, 5), (5, 3, 2, 1))[0],
        resources=Resources(
            random.choice((200, 500, 900, 1500)),
            random.choice((256, 512, 1024)),
            1,
            apart.choice((0, 0, 0, 0, 0, 0, 250, 500, 1000)),
        ),
        strategy=apart.choice(("", "", "", apart.choice(_STRATEGIES))),
        region=random.choice(("us-east", "us-west")),
        priority=random.choice((0, 20, 50, 80)),
        wait_for_capacity=random.random() < 0.4,
        allow_colocation=random.random() < 0.3,
        restart=RestartPolicy.ALWAYS,
    )
    if spec.container_image.startswith("job"):
        spec = replace(spec, restart=RestartPolicy.NEVER)
    if plan.scarce:
        spec = _for_a_full_fleet(spec, later)
    if plan.relieved:
        spec = _for_small_machines(spec, later)
    if plan.updates:
        spec = replace(spec, rollout=_rollout(later, hasty=plan.relieved))
    return spec


def _for_a_full_fleet(spec: DeploymentSpec, later: Random) -> DeploymentSpec:
    """Ask for much, and with priorities far apart: who comes later finds the fleet full."""
    asked = replace(spec.resources, cpu_millicores=later.choice((400, 700, 900)), memory_mib=256)
    return replace(
        spec,
        container_image=later.choice(("web", "web", "web", spec.container_image)),
        resources=asked,
        priority=later.choice((0, 20, 55, 80, 95)),
        wait_for_capacity=later.random() < 0.7,
    )


def _for_small_machines(spec: DeploymentSpec, later: Random) -> DeploymentSpec:
    """Ask for whole machines, so that updates wait for more room, and then find it in one place."""
    asked = replace(spec.resources, cpu_millicores=later.choice((600, 700, 900)))
    return replace(
        spec,
        container_image="web",
        replicas=later.choice((1, 2, 2, 3)),
        resources=asked,
        allow_colocation=False,
    )


def _rollout(later: Random, *, hasty: bool) -> RolloutSpec:
    """Draw how an update goes on; hasty ones replace several at once where there is room."""
    bounds = ((1, 0), (1, 0), (1, 1), (2, 0), (0, 1), (0, 2))
    surge, unavailable = later.choice(((2, 0), (2, 0), (3, 0), (2, 1)) if hasty else bounds)
    return RolloutSpec(
        surge,
        unavailable,
        later.choice((0, 500, 3_000)),
        later.choice((5_000, 20_000, 600_000)),
        auto_rollback=later.random() < 0.8,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What an update changes of a deployment; what is not given stays."""

    image: str = ""
    resources: Resources | None = None
    priority: int | None = None

    def applied(self, spec: DeploymentSpec) -> DeploymentSpec:
        """Return the changed spec."""
        return replace(
            spec,
            container_image=self.image or spec.container_image,
            resources=self.resources or spec.resources,
            priority=spec.priority if self.priority is None else self.priority,
        )

    @property
    def content(self) -> dict[str, object]:
        """What is asked, as a face tells the use case."""
        return {"image": self.image, "resources": self.resources, "priority": self.priority}


def a_change(spec: DeploymentSpec, later: Random) -> Change:
    """Draw an update: mostly of the image, now and then to one that does not run."""
    kind = later.random()
    if kind < 0.4:
        return Change(image=later.choice(GOOD_IMAGES))
    if kind < 0.7:
        return Change(image=later.choice(("absent", "absent", "absent", "crash:1", "flaky:2")))
    if kind < 0.9:
        cpu = later.choice((200, 400, 700, 1200))
        return Change(resources=replace(spec.resources, cpu_millicores=cpu))
    return Change(priority=later.choice((0, 20, 55, 80)))


@dataclass(slots=True)
class Wish:
    """A deployment's spec as its owner believes it to be, and those that it can go back to."""

    spec: DeploymentSpec
    revisions: list[DeploymentSpec] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with the first revision."""
        self.revisions = [self.spec]

    def change(self, change: Change) -> None:
        """Take an accepted update in."""
        self._become(change.applied(self.spec))

    def go_back(self) -> None:
        """Take an accepted return to the revision before in."""
        self._become(with_replicas_of(self.spec, self.revisions[-2]))

    def _become(self, spec: DeploymentSpec) -> None:
        if with_replicas_of(spec, self.revisions[-1]) == spec:
            self.revisions[-1] = spec
        else:
            self.revisions.append(spec)
        self.spec = spec


@dataclass(slots=True)
class Command:
    """What a caller wants once, and what it was told about it.

    `versions` are the positions that answers named: a repeat gets the first one's answer.
    `expected` is the version it is meant for, 0 for any; an undo goes back to `to_revision`.
    """

    kind: Kind
    request_id: str
    deployment_id: str
    spec: DeploymentSpec
    replicas: int
    versions: list[int] = field(default_factory=list)
    change: Change = field(default_factory=Change)
    expected: int = 0
    to_revision: int = 0


@dataclass(slots=True)
class Owned:
    """A deployment as its owner knows it; `doubtful` once a command was given up unanswered."""

    id: str
    wish: Wish
    replicas: int
    version: int = 0
    deleted: bool = False
    doubtful: bool = False
    open: Command | None = None

    @property
    def spec(self) -> DeploymentSpec:
        """What it is, for all that its owner knows."""
        return self.wish.spec


def never_rests(spec: DeploymentSpec) -> bool:
    """Tell whether replicas of a spec fail for ever."""
    return ends_badly(spec.container_image)
