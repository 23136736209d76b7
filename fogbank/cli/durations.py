"""Times as people write them: 90s, 10m, 1h30m, 7d."""

import re

from fogbank.cli.failures import UsageFailure

_PARTS = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")


def milliseconds(text: str) -> int:
    """Return a time in milliseconds; a bare number is seconds.

    Raises:
        UsageFailure: it is no time.
    """
    found = _PARTS.fullmatch(text.strip().lower())
    if not text.strip() or found is None:
        raise UsageFailure(f"{text!r} is no time", hint="write it as 90s, 10m, 1h30m or 7d")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return round(((days * 24 + hours) * 3600 + minutes * 60 + seconds) * 1000)
