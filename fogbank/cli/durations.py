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


def shown(time_ms: int) -> str:
    """Return a time in milliseconds as `milliseconds` reads it, in the largest unit that fits."""
    for size_ms, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m")):
        if time_ms >= size_ms and not time_ms % size_ms:
            return f"{time_ms // size_ms}{unit}"
    return f"{time_ms / 1000:.15g}s"
