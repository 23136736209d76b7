"""Past moments as people write them: a log sequence, a time, or how long ago."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fogbank.cli.failures import UsageFailure

if TYPE_CHECKING:
    from fogbank.v1.moments_pb2 import Moment

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s+ago")
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86_400, "w": 604_800}
_SECONDS |= {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_LAST_SEQUENCE = (1 << 63) - 1


def moment(text: str, now: datetime | None = None) -> "Moment":
    """Return the moment that a text names; times without an offset are this machine's.

    Raises:
        UsageFailure: it names none.
    """
    from google.protobuf.timestamp_pb2 import Timestamp

    from fogbank.v1.moments_pb2 import Moment

    given = text.strip()
    if given.isdecimal() and given.isascii():
        if not 1 <= int(given) <= _LAST_SEQUENCE:
            raise UsageFailure(f"--at {text}: a log sequence is 1 or more")
        return Moment(sequence=int(given))
    time = Timestamp()
    try:
        time.FromDatetime(_time(given, now or datetime.now(UTC)).astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise UsageFailure(
            f"--at {text!r} is no moment",
            hint="write a log sequence (1234), a time (2031-04-05T06:07:08Z) or '2 hours ago'",
        ) from error
    if time.seconds <= 0:
        raise UsageFailure(f"--at {text!r} is before all logs")
    return Moment(time=time)


def _time(given: str, now: datetime) -> datetime:
    found = _AGO.fullmatch(given.lower())
    if found is None:
        return datetime.fromisoformat(given)
    unit = found[2] if found[2] in _SECONDS else found[2].removesuffix("s")
    if unit not in _SECONDS:
        raise ValueError(given)
    return now - timedelta(seconds=float(found[1]) * _SECONDS[unit])
