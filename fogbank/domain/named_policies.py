"""Policies that every fleet knows by name; anyone of them can be activated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fogbank.domain.policy import STRATEGY_NAMES, Policy, Ties

# Never activated: the fold gives a policy its version when it is.
_UNNUMBERED = Policy(version=0)

# The default under its own name, then one for each other strategy, for asks of every class.
NAMED_POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        _UNNUMBERED,
        *(
            replace(
                _UNNUMBERED,
                name=name,
                strategy=name,
                classes=(),
                ties=Ties.HASH if name == "random" else Ties.ORDER,
            )
            for name in STRATEGY_NAMES
            if name != _UNNUMBERED.name
        ),
    )
}
