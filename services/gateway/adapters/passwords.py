"""Argon2 hashes, in threads of their own: one takes long enough to stall an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from services.gateway.app.fair_turns import FairTurns

T = TypeVar("T")

_RETRY_AFTER_MS = 2000


@dataclass(frozen=True, slots=True)
class HashingCost:
    """How much work a hash is; the defaults are those of RFC 9106's second choice."""

    time_cost: int = 3
    memory_kib: int = 64 * 1024
    parallelism: int = 4


class Argon2Passwords:
    """Hashes and verifies with at most `threads` at once and `waiting` more in line.

    Those who ask take turns: however many one of them has in line, the others' next comes first.
    """

    def __init__(
        self, cost: HashingCost | None = None, *, threads: int = 2, waiting: int = 64
    ) -> None:
        cost = cost or HashingCost()
        self._hashes = PasswordHash(
            (
                Argon2Hasher(
                    time_cost=cost.time_cost,
                    memory_cost=cost.memory_kib,
                    parallelism=cost.parallelism,
                ),
            )
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._turns = FairTurns(
            "Too many sign-ins at once",
            at_once=threads,
            waiting=waiting,
            reason="TOO_MANY_SIGN_INS",
            retry_after_ms=_RETRY_AFTER_MS,
        )
        self._nobodys_hash: str | None = None

    async def hash(self, password: str, asker: str = "") -> str:
        """Return a salted hash."""
        return await self._in_thread(asker, lambda: self._hashes.hash(password))

    async def verify(
        self, password: str, password_hash: str | None, asker: str = ""
    ) -> tuple[bool, str | None]:
        """Compare; for no hash at all, do the same work and say no."""
        return await self._in_thread(asker, lambda: self._verify(password, password_hash))

    def _verify(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        if password_hash is None:
            self._hashes.verify(password, self._hash_of_nobody())
            return False, None
        try:
            return self._hashes.verify_and_update(password, password_hash)
        except PwdlibError:
            return False, None

    def _hash_of_nobody(self) -> str:
        if self._nobodys_hash is None:
            self._nobodys_hash = self._hashes.hash("nobody's password")
        return self._nobodys_hash

    async def warm_up(self) -> None:
        """Prepare for the first unknown name, so that it answers no slower than later ones."""
        await self._in_thread("", self._hash_of_nobody)

    async def _in_thread(self, asker: str, work: Callable[[], T]) -> T:
        await self._turns.take(asker)
        done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # The thread goes on for somebody who went away, and so does the turn.
        done.add_done_callback(lambda _: self._turns.give_back())
        return await asyncio.shield(done)

    def close(self) -> None:
        """Give the threads back; what is in line is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
