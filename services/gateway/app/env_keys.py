"""Environments of many deployments, sealed at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from fogbank.domain.errors import FogError
from services.gateway.app.ports import SealedEnvironments

# The key of each environment, or why it could not be kept.
EnvKeys = list[str | FogError]


async def env_keys(
    environments: SealedEnvironments, envs: Sequence[Mapping[str, str] | None]
) -> EnvKeys:
    """Return the key of each environment, the empty one for none."""
    keys: EnvKeys = [""] * len(envs)
    given = [(index, env) for index, env in enumerate(envs) if env]
    sealed = await asyncio.gather(
        *(environments.seal(env) for _index, env in given), return_exceptions=True
    )
    for (index, _env), key in zip(given, sealed, strict=True):
        if isinstance(key, BaseException) and not isinstance(key, FogError):
            raise key
        keys[index] = key
    return keys
