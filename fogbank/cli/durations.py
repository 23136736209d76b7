"""Times as people write them: 90s, 10m, 1h30m."""

import re

from fogbank.cli.failures import UsageFailure

_PARTS = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")


def milliseconds(text: str) -> int:
    """Return a time in milliseconds; a bare number is seconds.

    Raises:
        UsageFailure: it is no time.
    """
    found = _PARTS.fullmatch(text.strip().lower())
    if not text.strip() or found is None:
        raise UsageFailure(f"{text!r} is no time", hint="write it as 90s, 10m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return round((hours * 3600 + minutes * 60 + seconds) * 1000)
