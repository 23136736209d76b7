"""Environment values, sealed: the log carries a key, the values lie encrypted in PostgreSQL.

The key is an HMAC of the environment, so the same values are kept once and a log says nothing of
them. Each time that one is asked for its `used_at` is raised, so that those which nobody refers to
can go without taking one along that a command under way is about to refer to. Both the HMAC's and
the cipher's key derive from one sealing key: lose it and the values are lost, keep it apart from
the database and a stolen database tells nothing.
"""

from __future__ import annotations

import hmac
import json
import os
from collections import OrderedDict
from collections.abc import Collection, Mapping
from datetime import timedelta

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from prometheus_client import Counter
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.errors import UnavailableError
from fogbank.runtime.clock import Clock
from fogbank.runtime.crash_points import crash_point
from fogbank.runtime.operator_error import OperatorError
from services.gateway.adapters.database import sealed_environments, transaction

_log = structlog.get_logger(__name__)

_BROKEN = Counter(
    "fog_gateway_environments_broken", "Times that a sealed environment did not open."
)
SHORTEST_SEALING_KEY = 32
_NONCE_BYTES = 12
_REMEMBERED = 10_000
# So long it isn't said again that an environment is in use: far less than one may be unused.
_SAID_FOR_S = 3_600.0
_AT_ONCE = 1_000


class UnsafeSealingKeyError(OperatorError):
    """The sealing key could be guessed; the message says what to do."""


class BrokenSealError(UnavailableError):
    """What was sealed can't be opened: another sealing key, or damaged data."""

    default_reason = "SEAL_BROKEN"


class Seal:
    """Encrypts one kind of thing, and names it by an HMAC; keys derive from the sealing key."""

    def __init__(self, sealing_key: str, kind: str) -> None:
        if len(sealing_key.encode()) < SHORTEST_SEALING_KEY:
            raise UnsafeSealingKeyError(
                f"FOG_SEALING_KEY needs at least {SHORTEST_SEALING_KEY} bytes: "
                "make one with: openssl rand -hex 32, and keep a copy apart from the database"
            )
        self._hmac_key = _derive(sealing_key, f"fogbank {kind} key".encode())
        self._cipher = AESGCM(_derive(sealing_key, f"fogbank {kind} cipher".encode()))

    def name(self, plain: bytes) -> str:
        """Return what stands for some bytes and tells nothing of them."""
        return hmac.digest(self._hmac_key, plain, "sha256").hex()

    def close(self, plain: bytes, bound_to: bytes) -> bytes:
        """Return the ciphertext, which opens only together with what it is bound to."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, bound_to)

    def open(self, ciphertext: bytes, bound_to: bytes) -> bytes:
        """Return what was closed; BrokenSealError if it isn't that."""
        nonce, body = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, body, bound_to)
        except (InvalidTag, ValueError) as error:
            raise BrokenSealError(
                f"What is sealed as {bound_to.decode()} does not open: "
                "is FOG_SEALING_KEY the one it was sealed by?"
            ) from error


class SealedEnvironments:
    """Seals and unseals environments of deployments."""

    def __init__(self, engine: AsyncEngine, sealing_key: str, clock: Clock) -> None:
        self._engine = engine
        self._seal = Seal(sealing_key, "environment")
        self._clock = clock
        # When each was said to be in use.
        self._kept: OrderedDict[str, float] = OrderedDict()

    def key(self, env: Mapping[str, str]) -> str:
        """Return what an environment would be kept under; an empty one has the empty key."""
        return self._seal.name(_canonical(env)) if env else ""

    async def seal(self, env: Mapping[str, str]) -> str:
        """Keep an environment durably and return its key; an empty one has the empty key.

        Raises:
            UnavailableError: the database is out of reach; nothing is to refer to the key.
        """
        if not env:
            return ""
        plain = _canonical(env)
        key = self._seal.name(plain)
        now_s = self._clock.monotonic_s()
        if now_s - self._kept.get(key, -_SAID_FOR_S) >= _SAID_FOR_S:
            ciphertext = self._seal.close(plain, key.encode())
            statement = upsert(sealed_environments).values(env_key=key, ciphertext=ciphertext)
            async with transaction(self._engine) as connection:
                await connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=[sealed_environments.c.env_key],
                        set_={"used_at": func.now()},
                    )
                )
                crash_point("gateway.before-seal-commit")
            crash_point("gateway.after-seal-commit")
            self._remember(key, now_s)
        return key

    async def forget_unused(self, needed: Collection[str], unused_for_s: float) -> int:
        """Delete environments that aren't needed and were not asked for lately; return how many.

        `unused_for_s` is to be longer than an hour and all that a command may take: whoever asks
        for one that is known already says so once an hour only.

        Raises:
            UnavailableError: the database is out of reach.
        """
        needed = frozenset(needed)
        table = sealed_environments
        unused = table.c.used_at < func.now() - text(":span").bindparams(
            span=timedelta(seconds=unused_for_s)
        )
        async with transaction(self._engine) as connection:
            found = (await connection.execute(select(table.c.env_key).where(unused))).scalars()
        gone = [key for key in found if key not in needed]
        for first in range(0, len(gone), _AT_ONCE):
            async with transaction(self._engine) as connection:
                # Whether it is unused is asked again: somebody may have come back to it meanwhile.
                await connection.execute(
                    delete(table).where(table.c.env_key.in_(gone[first : first + _AT_ONCE]), unused)
                )
        for key in gone:
            self._kept.pop(key, None)
        return len(gone)

    async def unseal(self, keys: Collection[str]) -> dict[str, dict[str, str]]:
        """Return the environments of the given keys, in one query.

        Unknown keys are left out, and those whose ciphertext doesn't open: no other has to wait
        for what stays broken.

        Raises:
            UnavailableError: the database is out of reach.
        """
        wanted = set(keys)
        found: dict[str, dict[str, str]] = {"": {}} if "" in wanted else {}
        wanted.discard("")
        if not wanted:
            return found
        statement = select(sealed_environments.c.env_key, sealed_environments.c.ciphertext).where(
            sealed_environments.c.env_key.in_(wanted)
        )
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(statement)).all()
        for key, ciphertext in rows:
            try:
                plain = self._seal.open(ciphertext, key.encode())
            except BrokenSealError as error:
                _BROKEN.inc()
                _log.error("an environment is broken", error=error.message)
                continue
            env: dict[str, str] = json.loads(plain)
            found[key] = env
        return found

    def _remember(self, key: str, now_s: float) -> None:
        self._kept[key] = now_s
        self._kept.move_to_end(key)
        if len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)


def _canonical(env: Mapping[str, str]) -> bytes:
    return json.dumps(dict(env), sort_keys=True, separators=(",", ":")).encode()


def _derive(sealing_key: str, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, purpose).derive(sealing_key.encode())
