"""Killing processes at the named points of their code: the names, plans, and who carries them out.

docs/crash-points.md says what the points are; `fogbank.runtime.crash_points` obeys the plans.
"""

from __future__ import annotations

import ast
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import count, zip_longest
from pathlib import Path
from typing import Self

import grpc

from fogbank.runtime import crash_points
from fogbank.v1 import identity_service_pb2 as pb
from tests.support.command_load import PATIENCE_S, Record, command_load, delete_all
from tests.support.fog_up import ROOT, FogUp
from tests.support.grpc_user import GrpcUser, grpc_admin
from tests.support.waiting import eventually_sync

# The parts of the source that each kind of process is killed in. All services pass the points
# of the log's code; the scheduler starts quickest.
VICTIMS: dict[str, tuple[str, ...]] = {
    "gateway": ("gateway",),
    "scheduler": ("scheduler", "log"),
    "ledger": ("ledger",),
    "agent": ("agent",),
}
# Passed only by the very first start on a data directory.
AT_FIRST_START = frozenset(
    {
        "gateway.before-genesis-append",
        "gateway.after-genesis-append",
        "agent.before-file-rename",
        "agent.after-file-rename",
    }
)
# Passed by every start, and by a process that runs seldom or never.
AT_START = frozenset(
    {
        "gateway.before-opening",
        "log.after-consumer",
        "scheduler.before-catch-up",
        "scheduler.after-catch-up",
        "ledger.before-migration",
        "ledger.before-migration-commit",
        "ledger.after-migration",
        "ledger.before-agreement",
        "ledger.after-leader-lock",
        "ledger.after-refold",
        "agent.after-load",
        "agent.before-look",
        "agent.before-dial",
    }
)

# A load, and how many of them are left running: those find room.
_DEPLOYMENTS = 30
_PACE_S = 0.4
_LEFT_RUNNING = 5
# What a process does between two of its deaths is different each time.
_PASSES = (1, 2, 3)
# If nobody starts anew for so long, which is longer than the supervisor's pauses, somebody has to.
_PATIENCE_WITH_A_START_S = 8.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point is in the source."""

    name: str
    file: str
    line: int


@cache
def places() -> tuple[Place, ...]:
    """Return every call of `crash_point` in the source, names unchecked."""
    found = []
    for folder in ("fogbank", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "crash_point(" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id == "crash_point"
                ):
                    (name,) = node.args
                    assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: not a literal"
                    file = path.relative_to(ROOT).as_posix()
                    found.append(Place(str(name.value), file, node.lineno))
    return tuple(found)


def points_of(*parts: str) -> list[str]:
    """Return the points of some parts (`gateway`, `log`), in the order of their names."""
    return sorted(place.name for place in places() if place.name.partition(".")[0] in parts)


def pids_of(system: FogUp, victim: str) -> dict[str, int]:
    """Return the present pids of the children of one kind, by name."""
    pids: dict[str, int] = system.state["pids"]
    return {name: int(pid) for name, pid in pids.items() if name.startswith(victim)}


class CrashPlan:
    """A folder that says who is to die where; obeyed by processes with its `environment`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What processes need so that they look here."""
        return {crash_points.TEST_BUILD: "1", crash_points.CRASH_PLAN: str(self._folder)}

    def arm(self, victim: str, point: str, passes: int = 1) -> None:
        """Have a process whose instance begins with `victim` die at the n-th pass from now on."""
        file = self._file(victim, point)
        file.parent.mkdir(exist_ok=True)
        beside = self._folder / ".new"
        beside.write_text(str(passes), encoding="utf-8")
        beside.replace(file)

    def armed(self, victim: str, point: str) -> bool:
        """Tell whether nobody died of it yet."""
        return self._file(victim, point).exists()

    def disarm(self, victim: str, point: str) -> bool:
        """Take it back; False if somebody died of it."""
        try:
            self._file(victim, point).unlink()
        except FileNotFoundError:
            return False
        return True

    def _file(self, victim: str, point: str) -> Path:
        return self._folder / victim / point


@contextmanager
def crash_plan() -> Iterator[CrashPlan]:
    """Make a plan in a folder of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        yield CrashPlan(Path(folder) / "plan")


class Killing:
    """Kills processes of one kind at one point after the other, `at_once` of them at a time.

    Those of the first start have to be armed before it: `begin`, then start the system, `go_on`.
    """

    def __init__(self, plan: CrashPlan, victim: str, points: Sequence[str], at_once: int) -> None:
        self.died_at: list[str] = []
        self._plan = plan
        self.victim = victim
        self._at_once = at_once
        self._first = [point for point in points if point in AT_FIRST_START]
        running = [point for point in points if point not in AT_FIRST_START | AT_START]
        starting = [point for point in points if point in AT_START]
        # Taking turns: where a running process dies, the next one dies as it starts.
        self._queue = [
            point for pair in zip_longest(running, starting) for point in pair if point is not None
        ]
        self._armed: dict[str, _Armed] = {}

    def begin(self) -> None:
        """Arm what only a first start passes."""
        for point in self._first:
            self._plan.arm(self.victim, point)

    @property
    def over(self) -> bool:
        """Whether somebody died at each point."""
        return not self.left

    @property
    def left(self) -> list[str]:
        """The points at which nobody died yet."""
        return [*self._first, *self._armed, *self._queue]

    def go_on(self, system: FogUp) -> None:
        """Look who died, and have the next ones die."""
        for point in (*self._first, *self._armed):
            if not self._plan.armed(self.victim, point):
                self._armed.pop(point, None)
                self.died_at.append(point)
        self._first = [point for point in self._first if point not in self.died_at]
        while self._queue and len(self._armed) < self._at_once:
            point = self._queue.pop(0)
            passes = _PASSES[len(self._queue) % len(_PASSES)]
            self._arm(system, point, 1 if point in AT_START else passes)
        for point, armed in self._armed.items():
            if point in AT_START and armed.is_overdue(system, self.victim):
                self._armed[point] = _Armed.now(system, self.victim)
                children = sorted(pids_of(system, self.victim))
                with suppress(ProcessLookupError):
                    system.kill_child(children[len(self.died_at) % len(children)])
                return

    def _arm(self, system: FogUp, point: str, passes: int) -> None:
        self._plan.arm(self.victim, point, passes)
        self._armed[point] = _Armed.now(system, self.victim)


@dataclass(frozen=True, slots=True)
class _Armed:
    """When a point was armed, and which processes there were by then."""

    since_s: float
    pids: frozenset[int]

    @classmethod
    def now(cls, system: FogUp, victim: str) -> Self:
        return cls(time.monotonic(), frozenset(pids_of(system, victim).values()))

    def is_overdue(self, system: FogUp, victim: str) -> bool:
        """Tell whether no process has started since, which might die as it starts."""
        if time.monotonic() - self.since_s < _PATIENCE_WITH_A_START_S:
            return False
        return self.pids.issuperset(pids_of(system, victim).values())


class _Busy(threading.Thread):
    """Does something over and over until told to stop; an error is told by `stop`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._stopping = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for number in count():
                self.once(number)
                if self._stopping.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  told by `stop`
            self.error = error

    def once(self, number: int) -> None:
        raise NotImplementedError

    def stop(self, within_s: float = PATIENCE_S) -> None:
        """Wait for what is under way, and raise what went wrong."""
        self._stopping.set()
        self.join(within_s)
        assert not self.is_alive(), f"{type(self).__name__} did not come to an end"
        self.raise_error()

    def raise_error(self) -> None:
        """Raise what went wrong, if anything did."""
        if self.error is not None:
            raise self.error


class Loads(_Busy):
    """Small loads of commands, one after the other; the latest of them are left running."""

    def __init__(self, system: FogUp, record: Record, prefix: str = "load") -> None:
        super().__init__()
        self._system = system
        self._record = record
        self._prefix = prefix
        self.finished = 0

    def once(self, number: int) -> None:
        prefix = f"{self._prefix}{number}"
        with command_load(
            self._system,
            self._record,
            prefix,
            count=_DEPLOYMENTS,
            pace_s=_PACE_S,
        ) as load:
            load.finish()
        self.finished += 1
        if number >= _LEFT_RUNNING:
            oldest = f"{self._prefix}{number - _LEFT_RUNNING}"
            delete_all(self._system, self._record, oldest)

    def clear(self) -> None:
        """Delete what is left, once it has come to its end."""
        for number in range(self.finished):
            delete_all(self._system, self._record, f"{self._prefix}{number}")


class Accounts(_Busy):
    """A user after the other registers, signs in and renews the session."""

    def __init__(self, system: FogUp) -> None:
        super().__init__()
        # Asked for once: the folder it is kept in may be gone for a while.
        self._address = system.grpc
        self._system = system
        self.registered: list[str] = []

    def once(self, number: int) -> None:
        self._stopping.wait(0.5)
        name = f"user-{number}"
        with grpc.insecure_channel(self._address) as channel:
            user = GrpcUser(channel, PATIENCE_S)
            try:
                user.call(
                    user.identity.Register,
                    pb.RegisterRequest(username=name, password=f"password of {name}"),
                )
            except grpc.RpcError as error:
                # Registered by a call whose answer was lost.
                assert error.code() is grpc.StatusCode.ALREADY_EXISTS  # noqa: PT017
            self.registered.append(name)
            login = pb.LoginRequest(username=name, password=f"password of {name}")
            tokens = user.call(user.identity.Login, login).tokens
            try:
                user.call(
                    user.identity.RefreshToken,
                    pb.RefreshTokenRequest(refresh_token=tokens.refresh_token),
                )
            except grpc.RpcError as error:
                # Used up by a call whose answer was lost: safe, and a reason to sign in again.
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED  # noqa: PT017

    def check(self) -> None:
        """Assert that all who were registered can sign in."""
        with grpc_admin(self._system) as admin:
            for name in self.registered:
                admin.sign_in(name, f"password of {name}")


@contextmanager
def busy(*threads: _Busy) -> Iterator[None]:
    """Keep them going while the context lasts, and to the end of what they are at."""
    for thread in threads:
        thread.start()
    # After a failure nobody waits for them: they end with the test run.
    yield
    for thread in threads:
        thread.stop()


def die_everywhere(
    system: FogUp, killings: Sequence[Killing], meanwhile: Sequence[_Busy], within_s: float
) -> None:
    """Have processes die until somebody died at each point, as long as others go on."""

    def over() -> bool:
        for thread in meanwhile:
            thread.raise_error()
        for killing in killings:
            killing.go_on(system)
        return all(killing.over for killing in killings)

    try:
        eventually_sync(over, within_s, what="a death at each point")
    except AssertionError as error:
        left = [point for killing in killings for point in killing.left]
        raise AssertionError(f"nobody died at {left}\n{system.logs()}") from error
