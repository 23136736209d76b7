"""The `fog` command: its verbs, and how it ends.

Command modules import what they need inside their functions, so that `fog --help`, completion and
`fog version` stay quick.
"""

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from fogbank.cli.failures import (
    EXIT_DONE,
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_PLAN_ERROR,
    EXIT_USAGE,
    CommandError,
    UsageFailure,
)
from fogbank.cli.version_command import version

# Verb, module, function; a module's `app` is a group of further verbs. Listed as in the help.
_VERBS: dict[str, tuple[str, str]] = {
    "up": ("up_command", "up"),
    "deploy": ("deploy_command", "deploy"),
    "plan": ("plan_commands", "plan"),
    "ps": ("show_commands", "ps"),
    "status": ("show_commands", "status"),
    "explain": ("plan_commands", "explain"),
    "exec": ("replica_commands", "execute"),
    "scale": ("change_commands", "scale"),
    "update": ("update_command", "update"),
    "rollout": ("rollout_commands", "app"),
    "delete": ("change_commands", "delete"),
    "logs": ("log_commands", "logs"),
    "nodes": ("node_commands", "app"),
    "rebalance": ("rebalance_command", "rebalance"),
    "org": ("organization_commands", "app"),
    "cluster": ("cluster_commands", "app"),
    "token": ("api_token_commands", "app"),
    "policy": ("policy_commands", "app"),
    "events": ("event_commands", "events"),
    "audit": ("audit", "app"),
    "backup": ("backup_commands", "backup"),
    "restore": ("backup_commands", "restore"),
    "certificate": ("certificate_command", "certificate"),
    "login": ("session_commands", "login"),
    "logout": ("session_commands", "logout"),
    "register": ("session_commands", "register"),
    "version": ("version_command", "version"),
}

# What Python and protobuf say of numbers that none of their types holds.
_TOO_LARGE = re.compile(
    "Value out of range: |cannot convert float |Exceeds the limit .* for integer string conversion"
)


def application(verbs: Sequence[str] = tuple(_VERBS)) -> typer.Typer:
    """Return the program with these verbs; each costs time, even if it isn't the one typed."""
    app = typer.Typer(
        name="fog",
        no_args_is_help=True,
        add_completion=len(verbs) == len(_VERBS),
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    # A program with a callback stays a group, however few verbs it has.
    app.callback()(_fog)
    for verb in verbs:
        module, name = _VERBS[verb]
        found = getattr(import_module(f"fogbank.cli.{module}"), name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=verb)
        else:
            app.command(verb)(found)
    return app


def _fog() -> None:
    """Deploys replicas onto a fleet of fog hosts, and shows what became of them."""


def _needed(arguments: Sequence[str]) -> Sequence[str]:
    """Return the verb that was typed alone; all of them for help and for completion."""
    if arguments and arguments[0] in _VERBS and "_FOG_COMPLETE" not in os.environ:
        return arguments[:1]
    return tuple(_VERBS)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    0 done, 1 error, 2 placement failed, 64 usage, 130 interrupted. `fog plan`: 0 nothing to
    change, 1 changes, 255 error.
    """
    if list(arguments) == ["version"]:  # asked by scripts and prompts: skip the machinery
        version()
        return EXIT_DONE
    try:
        app = application(_needed(arguments))
        result = app(args=list(arguments), prog_name="fog", standalone_mode=False)
    except CommandError as error:
        _complain(error.message, error.hint)
        return _failed(arguments, error.exit_code)
    except typer.TyperException as error:
        _complain_of_usage(error)
        return _failed(arguments, EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `fog ps | head`: whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except Exception as error:
        if (known := _known(error)) is not None:
            _complain(known.message, known.hint)
            return _failed(arguments, known.exit_code)
        if os.environ.get("FOG_DEBUG"):
            raise
        _complain(
            f"{type(error).__name__}: {error}",
            "this is a defect of fog; set FOG_DEBUG=1 to see where it happened",
        )
        return _failed(arguments, EXIT_ERROR)
    return result if isinstance(result, int) else EXIT_DONE


def _failed(arguments: Sequence[str], code: int) -> int:
    """Return the exit code of a failure; 1 from `fog plan` would mean changes."""
    return EXIT_PLAN_ERROR if list(arguments[:1]) == ["plan"] else code


def _known(error: Exception) -> CommandError | None:
    """Return the error of a call, or of a number that was typed, as one for people; else None."""
    if isinstance(error, ValueError | OverflowError) and _TOO_LARGE.match(str(error)):
        return UsageFailure("a number is none, or larger than any that means something here")
    if "grpc" not in sys.modules:
        return None
    import grpc

    from fogbank.cli.rpc_errors import explain

    return explain(error) if isinstance(error, grpc.RpcError) else None


def _complain(message: str, hint: str) -> None:
    sys.stdout.flush()
    print(f"fog: {message}", file=sys.stderr)
    if hint:
        print(f"     {hint}", file=sys.stderr)


def _complain_of_usage(error: typer.TyperException) -> None:
    context = getattr(error, "ctx", None)
    text = getattr(error, "format_message", error.__str__)()
    if type(error).__name__ == "NoArgsIsHelpError":
        print(text, file=sys.stderr)
        return
    command = context.command_path if context is not None else "fog"
    hint = f"see: {command} --help"
    if said := getattr(getattr(error, "param", None), "help", None):
        hint = f"what it is: {said} See: {command} --help"
    if re.fullmatch(r"No such option: -\d.*", text):
        text = f"{text.removeprefix('No such option: ')}: numbers here aren't negative"
    elif command in {"fog deploy", "fog plan"} and text.startswith("No such option: --name"):
        hint = f"its name comes without an option: {command} NAME --image IMAGE"
    elif command == "fog nodes" and text.startswith("No such command"):
        hint = "one node: fog nodes show NAME"
    _complain(_plain(text), hint)


def _plain(text: str) -> str:
    """Return a complaint without the words of the library that checks values."""
    text, _, _ = text.partition(", unable to parse")
    return text.replace("Value error, ", "").replace("Input should be", "it must be")


def main() -> None:
    """Run the command that was typed."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
