"""The verb that lists what a group of commands is about, alike in all groups."""

from collections.abc import Callable
from typing import Any, TypeVar

import typer

Command = TypeVar("Command", bound=Callable[..., Any])


def lists(app: typer.Typer) -> Callable[[Command], Command]:
    """Return what makes a function a group's `list`, and its `ls`, which the help leaves out."""

    def registered(command: Command) -> Command:
        app.command("ls", hidden=True)(command)
        return app.command("list")(command)

    return registered
