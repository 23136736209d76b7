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


def check_beside_a_file(context: typer.Context, allowed: Container[str]) -> None:
    """Refuse flags that a file leaves no room for.

    Raises:
        UsageFailure: names the first one.
    """
    for name in given(context):
        if name not in allowed:
            raise UsageFailure(
                f"give either a file or --{name.replace('_', '-')}, not both",
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
            what = "a name or id" if name == "deployment" else f"--{name.replace('_', '-')}"
            raise UsageFailure(f"{what} goes with one deployment, {file} has {len(texts)}")
