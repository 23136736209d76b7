"""Flags beside a file of deployments: what a file says itself is said there alone."""

from collections.abc import Container, Sequence
from pathlib import Path

import typer

from fogbank.cli.deployment_files import DeploymentText
from fogbank.cli.failures import UsageFailure


def given(context: typer.Context) -> list[str]:
    """Return the names of the parameters that were typed, whatever their values."""
    return [
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    ]


def flag_of(context: typer.Context, name: str) -> str:
    """Return the flag that a parameter was given by, as `--no-replace` for one switched off."""
    for known in context.command.params:
        if known.name == name and known.opts:
            off = known.secondary_opts if context.params[name] is False else []
            return (off or known.opts)[0]
    return f"--{name.replace('_', '-')}"


def check_beside_a_file(context: typer.Context, allowed: Container[str]) -> None:
    """Refuse flags that a file leaves no room for.

    Raises:
        UsageFailure: names the first one.
    """
    for name in given(context):
        if name not in allowed:
            raise UsageFailure(
                f"give either a file or {flag_of(context, name)}, not both",
                hint="write it into the file",
            )


def check_for_one(
    context: typer.Context, names: Sequence[str], texts: Sequence[DeploymentText], file: Path
) -> None:
    """Refuse what only one deployment can have beside a file with several.

    Raises:
        UsageFailure: names it.
    """
    typed = given(context)
    for name in names:
        if name in typed and len(texts) > 1:
            what = "a name or id" if name == "deployment" else flag_of(context, name)
            raise UsageFailure(f"{what} goes with one deployment, {file} has {len(texts)}")
