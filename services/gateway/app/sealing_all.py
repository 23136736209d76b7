"""Environments of many deployments, sealed at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from fogbank.domain.errors import FogError
from services.gateway.app.ports import SealedEnvironments


async def seal_all(
    environments: SealedEnvironments, envs: Sequence[Mapping[str, str]]
) -> list[FogError | None]:
    """Keep environments; return for each why it could not be kept, None if it is."""
    problems: list[FogError | None] = [None] * len(envs)
    given = [(index, env) for index, env in enumerate(envs) if env]
    sealed = await asyncio.gather(
        *(environments.seal(env) for _index, env in given), return_exceptions=True
    )
    for (index, _env), outcome in zip(given, sealed, strict=True):
        if isinstance(outcome, FogError):
            problems[index] = outcome
        elif isinstance(outcome, BaseException):
            raise outcome
    return problems
