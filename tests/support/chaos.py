"""Whole systems that are disturbed in the middle of a load, and the verdict on them afterwards."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from fogbank.checker import parse_acknowledged
from fogbank.v1 import deployments_pb2, scheduler_service_pb2, scheduler_service_pb2_grpc
from tests.support.checked_log import assert_log_keeps_the_rules
from tests.support.command_load import PACE_S, PATIENCE_S, Record, command_load, owner_of
from tests.support.fog_up import FogUp, temporary_data_dir
from tests.support.grpc_user import GrpcUser, grpc_admin
from tests.support.projection import assert_projection_is_the_fold
from tests.support.waiting import eventually_sync

# Few processes, each with one large node: three replicas find places also while one is away.
NODES = 5
FLEET = f"nodes: [{{name: edge, count: {NODES}, cpu: 16, memory: 32768, storage: 100}}]\n"
AGENT = "agent-edge-1"

_PLACED_SHARE = 0.999
_RUNNING = deployments_pb2.DEPLOYMENT_STATUS_RUNNING


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures of a system that passed: what was promised, and how long it took to be so.

    `resumed_s` has for each disturbance the seconds from its beginning to the first
    acknowledgement after it.
    """

    commands: int
    running: int
    rounds_void: int
    longest_gap_s: float
    settled_s: float
    position: int
    resumed_s: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Return it as a line."""
        resumed = ", ".join(f"{each:.2f}" for each in self.resumed_s)
        return (
            f"acknowledged again after {resumed or '-'} s; "
            f"{self.commands} commands kept, {self.running} deployments run, "
            f"{self.rounds_void} rounds void, longest wait for an acknowledgement "
            f"{self.longest_gap_s:.2f} s, at rest {self.settled_s:.2f} s after the last, "
            f"{self.position} commits"
        )


class ChaosSystem(FogUp):
    """A system with a folder beside it that outlives whatever is done to the system's disk."""

    def __init__(
        self, scratch: Path, data_dir: Path, env: Mapping[str, str], *arguments: str
    ) -> None:
        super().__init__(data_dir, *arguments, env=env)
        self.scratch = scratch


@contextmanager
def chaos_system(
    *arguments: str, data_dir: Path | None = None, env: Mapping[str, str] | None = None
) -> Generator[ChaosSystem]:
    """Run a system on five nodes while the context lasts; at its end nothing of it runs any more.

    Hashes of passwords are cheap, so that they don't slow down what is measured.
    """
    settings = {
        "FOG_PASSWORD_TIME_COST": "1",
        "FOG_PASSWORD_MEMORY_KIB": "64",
        "FOG_PASSWORD_PARALLELISM": "1",
    } | dict(env or {})
    with temporary_data_dir() as ordinary:
        scratch = ordinary.parent
        fleet = scratch / "fleet.yaml"
        fleet.write_text(FLEET)
        system = ChaosSystem(
            scratch, data_dir or ordinary, settings, "--fleet", str(fleet), *arguments
        )
        try:
            system.start()
            yield system
        finally:
            if system.running:
                resume_all(system)
                system.end()


def resume_all(system: FogUp) -> None:
    """Let all children run again that a test froze."""
    with suppress(OSError, json.JSONDecodeError):
        for pid in system.state["pids"].values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def new_record(system: ChaosSystem) -> Record:
    """Begin to keep what the first user is promised, as lines of JSON in the scratch folder."""
    with grpc_admin(system) as admin:
        owner_id = owner_of(admin)
    return Record(owner_id, system.scratch / "acknowledged.jsonl")


def disturbed(
    system: ChaosSystem,
    disturbances: Sequence[Callable[[], object]],
    *,
    record: Record | None = None,
    prefix: str = "job",
    count: int = 200,
    pace_s: float = PACE_S,
) -> Verdict:
    """Disturb a system in the middle of a load, and judge it at the end."""
    record = record or new_record(system)
    resumed_s = disturbed_load(
        system, disturbances, record=record, prefix=prefix, count=count, pace_s=pace_s
    )
    return replace(judge(system, record), resumed_s=resumed_s)


def disturbed_load(
    system: ChaosSystem,
    disturbances: Sequence[Callable[[], object]],
    *,
    record: Record,
    prefix: str,
    count: int,
    pace_s: float,
) -> tuple[float, ...]:
    """Run a load with disturbances evenly spread over it.

    Returns the seconds from each disturbance to the first acknowledgement after it.
    """
    resumed_s: list[float] = []
    with command_load(system, record, prefix, count=count, pace_s=pace_s) as load:
        for number, disturb in enumerate(disturbances, start=1):
            load.reach(number / (len(disturbances) + 1))
            began = time.monotonic()
            disturb()
            load.go_on()
            resumed_s.append(time.monotonic() - began)
        load.finish()
    return tuple(resumed_s)


def judge(system: FogUp, record: Record, within_s: float = PATIENCE_S) -> Verdict:
    """Assert that everything ended as asked, exactly once, by four independent readings.

    What users are shown, what the log says to the checker, which containers there are on the
    nodes, and the ledger's tables against a fold of their own.
    """
    began = time.monotonic()
    with grpc_admin(system, patience_s=within_s) as admin:
        running = _assert_shown_as_asked(admin, record, within_s)
    settled_s = time.monotonic() - began
    with record.path.open() as lines:
        promises = parse_acknowledged(lines)
    assert len(promises) == len(record.promises)
    report = assert_log_keeps_the_rules(
        system.state["nats"], promises, settled=True, within_s=within_s
    )
    _assert_containers_once(system, record, within_s)
    position = assert_projection_is_the_fold(system.state, within_s)
    return Verdict(
        len(record.promises),
        running,
        report.counts.rounds_void,
        record.longest_gap_s,
        settled_s,
        position,
    )


def _assert_shown_as_asked(admin: GrpcUser, record: Record, within_s: float) -> int:
    """Wait until each deployment is shown as it was asked for; return how many run."""
    wanted = {
        record.ids[name]: wish.last for name, wish in record.wishes.items() if not wish.deleted
    }
    shown: dict[str, Any] = {}

    def runs(deployment_id: str, replicas: int) -> bool:
        found = shown.get(deployment_id)
        return found is not None and found.status == _RUNNING and found.spec.replicas == replicas

    def share() -> float:
        shown.clear()
        for deployment in admin.all_deployments():
            assert deployment.id not in shown, f"{deployment.spec.name} is listed twice"
            shown[deployment.id] = deployment
        right = sum(runs(deployment_id, replicas) for deployment_id, replicas in wanted.items())
        return right / len(wanted) if wanted else 1.0

    try:
        eventually_sync(lambda: share() >= 1, within_s, what="all to run as asked")
    except AssertionError:
        # All of them could be placed; this much is asked for.
        assert share() >= _PLACED_SHARE, _those_that_do_not_run(wanted, shown)
    assert set(shown) == set(wanted), (
        f"not asked for: {[shown[extra].spec.name for extra in set(shown) - set(wanted)]}, "
        f"missing: {set(wanted) - set(shown)}"
    )
    return sum(runs(deployment_id, replicas) for deployment_id, replicas in wanted.items())


def _those_that_do_not_run(wanted: Mapping[str, int], shown: Mapping[str, Any]) -> str:
    wrong = [
        f"{deployment_id}: wanted {replicas}, is {shown.get(deployment_id)}"
        for deployment_id, replicas in wanted.items()
        if (found := shown.get(deployment_id)) is None
        or found.status != _RUNNING
        or found.spec.replicas != replicas
    ]
    return "\n".join([f"{len(wrong)} of {len(wanted)} do not run as asked:", *wrong[:5]])


def _assert_containers_once(system: FogUp, record: Record, within_s: float) -> None:
    """Assert that the nodes run as many containers as were asked for, none of them twice."""
    wanted = sum(wish.last for wish in record.wishes.values())

    def exact() -> bool:
        found = containers(system.data_dir)
        return len(found) == found.total() == wanted

    try:
        eventually_sync(exact, within_s, what="exactly the containers that were asked for")
    except AssertionError as error:
        found = containers(system.data_dir)
        twice = {key: count for key, count in found.items() if count > 1}
        raise AssertionError(f"{found.total()} containers, {wanted} wanted, {twice=}") from error


def containers(data_dir: Path) -> Counter[str]:
    """Return how many simulated containers run, by replica, over all nodes."""
    found: Counter[str] = Counter()
    for path in (data_dir / "agents" / "nodes").glob("*/containers/*.json"):
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            continue
        if not content["ends_at_us"]:
            found[content["replica_id"]] += 1
    return found


# Disturbing.


def kill(system: FogUp, children: Iterable[str], within_s: float = PATIENCE_S) -> float:
    """SIGKILL children at once, wait for their successors; return the seconds that took."""
    began = time.monotonic()
    former = {child: system.kill_child(child) for child in children}
    for child, pid in former.items():
        system.back(child, pid, within_s)
    return time.monotonic() - began


def freeze(system: FogUp, child: str) -> None:
    """SIGSTOP a child: its connections stay open, nothing answers, no clock of its own goes on."""
    os.kill(system.pid(child), signal.SIGSTOP)


def thaw(system: FogUp, child: str) -> None:
    """Let a frozen child go on as if nothing had been."""
    os.kill(system.pid(child), signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class SchedulerView:
    """Asks one scheduler what it believes."""

    address: str
    token: str

    @classmethod
    def of(cls, system: FogUp, child: str) -> SchedulerView:
        """Return a view of a scheduler that `fog up` runs."""
        token = (system.data_dir / "secrets" / "service_token").read_text().strip()
        return cls(f"127.0.0.1:{system.ports[f'{child}-grpc']}", token)

    def status(self) -> scheduler_service_pb2.GetSchedulerStatusResponse:
        """Return what it says now, waiting until it answers."""
        with grpc.insecure_channel(self.address) as channel:
            stub = scheduler_service_pb2_grpc.SchedulerServiceStub(channel)
            return stub.GetSchedulerStatus(
                scheduler_service_pb2.GetSchedulerStatusRequest(),
                metadata=(("authorization", f"Bearer {self.token}"),),
                timeout=60,
                wait_for_ready=True,
            )

    def wait_leader(self, leader: str, within_s: float = PATIENCE_S) -> float:
        """Wait until it takes `leader` for the leading one; return the seconds that took."""
        began = time.monotonic()
        eventually_sync(
            lambda: self.status().leader == leader, within_s, what=f"{leader}'s taking over"
        )
        return time.monotonic() - began
