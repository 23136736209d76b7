"""Numbers and switches in paths and queries, where everything comes as text.

pydantic alone reads more than is documented: 1.0, 1_000 and " 1 " as numbers, "on" and "y" as true.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_DIGITS = re.compile(r"-?[0-9]+")


def _in_digits(given: object) -> object:
    if isinstance(given, str) and not _DIGITS.fullmatch(given):
        raise ValueError("must be written in digits")
    return given


def _true_or_false(given: object) -> object:
    if isinstance(given, str) and given not in {"true", "false"}:
        raise ValueError("must be true or false")
    return given


# Stands after the bounds: only then does the OpenAPI document name those.
IN_DIGITS = BeforeValidator(_in_digits)
Switch = Annotated[bool, BeforeValidator(_true_or_false)]
