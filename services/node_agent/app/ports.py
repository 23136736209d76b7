"""What the agent needs of the outside: a container runtime, a disk, a host, gateways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from fogbank.domain.containers import HealthProbe, PublishedPort
from fogbank.domain.errands import Brought, Errand
from fogbank.domain.node import Fingerprint, HostDetails
from fogbank.domain.states import RuntimeKind
from services.node_agent.core.effects import Outgoing
from services.node_agent.core.kept import Entry, Kept
from services.node_agent.core.replica import FoundContainer, ReplicaSpec
from services.node_agent.core.stimuli import GatewayMessage, RuntimeEvent

# Says what time it is, in microseconds since 1970.
Clock = Callable[[], int]
# Says how long the host has been up, its sleep included, in microseconds. It never falls.
BootClock = Callable[[], int]


class RuntimeFaultError(Exception):
    """The runtime could not do it; the text says why, for people."""


class ImageMissingError(RuntimeFaultError):
    """There is no such image, here or where images come from."""


@dataclass(frozen=True, slots=True)
class StartedContainer:
    """A container that runs, and since when (microseconds since 1970)."""

    container_id: str
    started_at_us: int
    ports: tuple[PublishedPort, ...] = ()


# Tries a probe once: returns why it failed, or nothing. RuntimeFaultError if nobody can tell.
ProbeTry = Callable[[], Awaitable[str]]


class Progress(Protocol):
    """Hears how far the preparation of one replica is, in words for people."""

    def note(self, text: str) -> None:
        """Take in how far it is now; much of it may be passed over."""

    def tell(self, text: str) -> None:
        """Take in what is to be known in any case."""


class ContainerRuntime(Protocol):
    """Runs one container per replica. Containers outlive the agent; their label finds them again.

    tests/contract/runtime holds every adapter to what is said here.
    """

    @property
    def kind(self) -> RuntimeKind:
        """What kind of runtime this is."""

    async def prepare(self, spec: ReplicaSpec, progress: Progress) -> None:
        """Fetch what the replica needs, such as its image.

        Raises:
            ImageMissingError: there is no such image.
            RuntimeFaultError: it could not be fetched, or there is no room for its volumes.
        """

    async def start(
        self, replica_id: str, restart_count: int, spec: ReplicaSpec
    ) -> StartedContainer:
        """Start the replica's container, in place of one of an earlier restart.

        If the container of this very restart runs already, return it and change nothing.

        Raises:
            RuntimeFaultError: it did not start, and nothing of it runs.
        """

    async def stop(self, replica_id: str, grace_ms: int) -> int | None:
        """Stop the container, by force after the grace; return its exit code once it ended.

        None if there is no container. One that has ended already is left as it is.

        Raises:
            RuntimeFaultError: it may still run.
        """

    async def remove(self, replica_id: str) -> None:
        """Remove the container, by force if it runs; fine if there is none.

        The last of its logs may be kept elsewhere for a while.
        """

    async def containers(self) -> Sequence[FoundContainer]:
        """Return every container that was started and not removed, ended ones included.

        Raises:
            RuntimeFaultError: the runtime gives no answer.
        """

    async def volume_bytes(self, deployment_id: str, name: str) -> int:
        """Return how many bytes a deployment's volume takes of its disk, at least; 0 if unknown.

        Raises:
            RuntimeFaultError: the runtime gives no answer.
        """

    async def collect(self, needed: Collection[str]) -> None:
        """Remove images that were fetched and are not needed, if room is short.

        Those in `needed` are never removed.

        Raises:
            RuntimeFaultError: the runtime gives no answer.
        """

    def probing(self, replica_id: str, probe: HealthProbe) -> AbstractAsyncContextManager[ProbeTry]:
        """Get ready to probe a running container, again and again.

        Raises:
            RuntimeFaultError: it can't be probed now; its container may be gone.
        """

    def logs(
        self, replica_id: str, tail: int, *, follow: bool = False, previous: bool = False
    ) -> AsyncIterator[str]:
        """Yield what the replica's container wrote in its last `tail` lines; none if unknown.

        With `follow` what it writes from then on too, until it ends. Pieces may end anywhere.
        Of a container that is gone a few lines are left, and with `previous` they are of the one
        before the last.

        Raises:
            RuntimeFaultError: the runtime gives no answer, or nothing is left of that container.
        """

    def execute(self, replica_id: str, command: Sequence[str]) -> AsyncIterator[Brought]:
        """Run a command in the replica's container; yield what it writes, then its exit code.

        Raises:
            RuntimeFaultError: it can't be run.
        """

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Yield ends and changes of health from now on, forever; any of them may come twice.

        An end by `stop` or `remove` may be told too. Has one reader.
        """


class Host(Protocol):
    """The machine that the node stands for."""

    async def look(self) -> None:
        """Measure what takes time, such as GPUs; takes seconds at most, and never fails.

        What gives no answer is taken to be as it was.
        """

    def details(self) -> HostDetails:
        """Return what the host runs on, as at the last look."""

    def fingerprint(self) -> Fingerprint:
        """Return what the host has to offer now."""

    def usage(self) -> tuple[float, float]:
        """Return the load of processors and of memory, 0 to 100 percent. Never blocks."""


class NodeDisk(Protocol):
    """The node's memory over restarts."""

    async def load(self) -> tuple[str, Kept]:
        """Return the node's id, made at the first call ever, and what was kept.

        Raises:
            DiskDamagedError: something other than an unfinished last write is unreadable.
        """

    async def save(self, entries: Sequence[Entry], kept: Kept) -> None:
        """Make the entries durable, all or none; `kept` is what they led to.

        Raises:
            OSError: they may or may not be there at the next `load`.
        """

    async def close(self) -> None:
        """Let go of what `load` opened; saves that were begun are done first."""


class DiskDamagedError(Exception):
    """What was kept on disk can't be trusted; the text names the file."""


class GatewayError(Exception):
    """No stream, or no longer one.

    `refused` when dialling again soon makes no sense, `removed` because the node was removed. A
    gateway that has too much to do names the seconds after which to come again.
    """

    def __init__(
        self,
        message: str,
        *,
        refused: bool = False,
        removed: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.refused = refused
        self.removed = removed
        self.retry_after_s = retry_after_s


class ErrandRefusedError(Exception):
    """That gateway waits for no such errand."""


class GatewayStream(Protocol):
    """An open stream to a gateway."""

    def send(self, message: Outgoing) -> None:
        """Queue a message; they leave in order, until the stream ends."""

    def messages(self) -> AsyncIterator[GatewayMessage | Errand]:
        """Yield what the gateway says until it ends the stream.

        Raises:
            GatewayError: the stream broke.
        """

    def close(self) -> None:
        """End the stream: `messages` ends."""


class Gateways(Protocol):
    """The doors of the system."""

    @property
    def count(self) -> int:
        """How many addresses there are; at least one."""

    def open(
        self, number: int, node_id: str, name: str
    ) -> AbstractAsyncContextManager[GatewayStream]:
        """Open a stream for a node to the address of that number, from 0."""

    async def serve(self, number: int, errand_id: str, brought: AsyncIterator[Brought]) -> None:
        """Bring what an errand asked for, as fast as it is taken, until nobody wants more.

        `brought` is begun only once the gateway says that somebody waits for it.

        Raises:
            ErrandRefusedError: the gateway at that address waits for no such errand; not begun.
            GatewayError: it was cut off.
        """
