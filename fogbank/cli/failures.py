"""How a command fails: a message, what to do next, an exit code. Never a trace."""

import sys

EXIT_DONE = 0
EXIT_ERROR = 1
EXIT_PLACEMENT_FAILED = 2
EXIT_USAGE = 64
EXIT_INTERRUPTED = 130
EXIT_PLAN_ERROR = 255


class CommandError(Exception):
    """The command could not do what it was asked; `hint` says what to try."""

    exit_code = EXIT_ERROR

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class PlacementFailedError(CommandError):
    """The scheduler found no room."""

    exit_code = EXIT_PLACEMENT_FAILED


class UsageFailure(CommandError):
    """What was typed, or the file it names, makes no sense."""

    exit_code = EXIT_USAGE


def warn(failure: CommandError) -> None:
    """Say on standard error what went wrong, where the command goes on."""
    print(f"fog: warning: {failure.message}\n     {failure.hint}", file=sys.stderr)
