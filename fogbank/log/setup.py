"""Makes a fleet's log, once, as the operator: `python -m fogbank.log.setup`.

Reads the same settings as the services (FOG_NATS_URL, FOG_NATS_MONITOR_URL, FOG_FLEET,
FOG_LOG_MAX_BYTES, ...), with the operator's user in FOG_NATS_USER and FOG_NATS_PASSWORD_FILE.
Where the stream exists already it is only checked. Exit code 0 when the log is fit to be used.
"""

from __future__ import annotations

import asyncio
import sys
from typing import ClassVar

from fogbank.domain.errors import FogError
from fogbank.log.opening import open_log
from fogbank.runtime import logging
from fogbank.runtime.operator_error import OperatorError
from fogbank.runtime.settings import FleetSettings, load


class SetupSettings(FleetSettings, frozen=True):
    """What is needed to make the log."""

    service: ClassVar[str] = "setup"


async def set_up(settings: FleetSettings) -> None:
    """Make the log if there is none, and check it; raises as `open_log` does."""
    async with open_log(settings):
        pass


def main() -> None:
    """Do it and leave; exit code 1 and one line on standard error if it can't be done."""
    settings = load(SetupSettings)
    logging.configure(settings.service, settings.instance, settings.log_level, settings.log_format)
    try:
        asyncio.run(set_up(settings))
    except (OperatorError, FogError) as error:
        sys.stderr.write(f"the log can't be set up: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
