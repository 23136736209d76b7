"""Work with keys, done by a process of its own that ends with it.

The libraries for it take more memory than an agent has to spare, and are needed when a node joins
and, once in weeks, when its certificate is renewed.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence

from msgspec import Struct, json

from services.node_agent.app.ports import GatewayError

_COMMAND = (sys.executable, "-m", "services.node_agent.adapters.key_worker")
# For a whole batch: the interpreter's start, and a handshake that gets no answer.
_LONGEST_S = 60.0


class Job(Struct, frozen=True):
    """To make a request for a certificate, signed with the key of a file.

    To join, `join_address` says where and `fingerprint` is the authority's SHA-256: the key is
    made if there is none, and the authority's certificate is asked for.
    """

    key_file: str
    node_id: str
    join_address: str = ""
    fingerprint: bytes = b""


class Done(Struct, frozen=True):
    """The request (PKCS#10, DER) and, for who joins, the authority's certificate (PEM).

    Else `why` it can't be done; `refused` says that trying again soon changes nothing.
    """

    request: bytes = b""
    authority_pem: str = ""
    why: str = ""
    refused: bool = False


class KeyWork:
    """Starts one process at a time; all that is wanted meanwhile goes to the next one."""

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        """Know what to start: it reads a list of jobs and writes a list of what was done."""
        self._command = command
        self._waiting: list[tuple[Job, asyncio.Future[Done]]] = []
        self._working: asyncio.Task[None] | None = None

    async def do(self, job: Job) -> Done:
        """Have a job done.

        Raises:
            GatewayError: it can't be done.
        """
        done: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, done))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        answer = await done
        if answer.why:
            raise GatewayError(answer.why, refused=answer.refused)
        return answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                answers = await asyncio.to_thread(self._run, [job for job, _ in batch])
                for (_, done), answer in zip(batch, answers, strict=True):
                    if not done.done():
                        done.set_result(answer)
        finally:
            self._working = None

    def _run(self, jobs: list[Job]) -> list[Done]:
        """Return what became of each job."""
        try:
            ended = subprocess.run(
                self._command,
                input=json.encode(jobs),
                capture_output=True,
                timeout=_LONGEST_S,
                check=True,
            )
            answers = json.decode(ended.stdout, type=list[Done])
            if len(answers) != len(jobs):
                raise ValueError(f"it did {len(answers)} of {len(jobs)} jobs")
            return answers
        except Exception as error:  # noqa: BLE001 (whoever waits must hear of it)
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace").splitlines()
            why = said[-1] if said else str(error)
            return [Done(why=f"the process that works with keys failed: {why}")] * len(jobs)
