"""Asks before what can't be taken back."""

import sys
from typing import Annotated

import typer

from fogbank.cli.failures import UsageFailure

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def confirm(question: str) -> None:
    """Ask, and end the command unless the answer is yes.

    Raises:
        UsageFailure: nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise UsageFailure("nobody is there to confirm it", hint="give --yes (-y)")
    typer.confirm(question, abort=True)
