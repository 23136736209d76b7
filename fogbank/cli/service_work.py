"""Work that a service's own program does once and by request, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fogbank.cli.failures import CommandError, UsageFailure


def report_of(
    service: str,
    arguments: list[str],
    environment: Mapping[str, str],
    shown: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Any]:
    """Let a service's program do it, show how far it is and return what it reports.

    Raises:
        CommandError: it could not be done; says why.
    """
    command = [sys.executable, "-m", f"services.{service}.main", *arguments]
    with subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            for said in _lines(process.stdout or ()):
                if "report" in said:
                    report: dict[str, Any] = said["report"]
                    return report
                if "error" in said:
                    raise CommandError(str(said["error"]))
                shown(said["done"], said["total"])
        except KeyboardInterrupt:
            process.terminate()
            # It tidies up, and says how it left things; who interrupts again doesn't wait for that.
            for said in _lines(process.stdout or ()):
                if "error" in said:
                    raise CommandError(str(said["error"])) from None
            raise
        code = process.wait()
    if code == UsageFailure.exit_code:
        raise UsageFailure("the settings are not complete; see above")
    raise CommandError(f"the {service}'s program ended with {code} and said nothing")


def _lines(output: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in output:
        yield json.loads(line)
