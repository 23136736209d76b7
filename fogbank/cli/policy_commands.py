"""`fog policy`: the policies that decisions can be made by, and the one they are."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import CommandError, UsageFailure
from fogbank.cli.listing import lists
from fogbank.cli.output import AsTable, Column, Output, OutputFormat, print_data, print_list

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection
    from fogbank.v1 import policies_pb2

app = typer.Typer(help="Show the policies that decisions are made by, or activate one.")

_COLUMNS = (
    Column("NAME", "name"),
    Column("ACTIVE", "active"),
    Column("VERSION", "version"),
    Column("STRATEGY", "strategy"),
    Column("CLASSES", "classes"),
    Column("TIES", "ties"),
    Column("RETRIES MS", "retries", wide=True),
    Column("LOST AFTER MS", "lost_after_ms", wide=True),
)


@lists(app)
def list_policies(output: Output = AsTable) -> None:
    """List the active policy and the known ones; a version of 0 was never active."""
    from fogbank.cli.connection import connect

    with connect() as connection:
        rows = [_row(policy, active=index == 0) for index, policy in _known(connection)]
    print_list(rows, _COLUMNS, output, name_key="name", empty="no policies")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Its name, as listed.")], output: Output = AsTable
) -> None:
    """Show all of a policy; as YAML or JSON it can be edited and activated again."""
    from fogbank.cli.connection import connect

    with connect() as connection:
        found = [policy for _, policy in _known(connection) if policy.name == name]
    if not found:
        raise CommandError(f"there is no policy {name}", hint="see: fog policy list")
    _print(found[0], output)


@app.command("status")
def status(output: Output = AsTable) -> None:
    """Show the active policy, and since which log sequence it is."""
    from fogbank.cli.connection import connect
    from fogbank.v1 import policy_service_pb2

    with connect() as connection:
        answer = connection.call(
            connection.policies.GetPolicyStatus, policy_service_pb2.GetPolicyStatusRequest()
        )
    _print(answer.policy, output, answer.activated_at_sequence)


@app.command("activate")
def activate(
    name: Annotated[str, typer.Argument(help="A known policy's name.")] = "",
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="A whole policy, YAML or JSON.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it.")] = False,
    request_id: Annotated[
        str, typer.Option("--request-id", help="Makes a repeat of this command safe.")
    ] = "",
    output: Output = AsTable,
) -> None:
    """Make a policy the one to decide by (administrators only)."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.v1 import policy_service_pb2

    if bool(name) == (file is not None):
        raise UsageFailure("give either a known policy's name or a file with -f")
    request = policy_service_pb2.ActivatePolicyRequest(
        request_id=request_id or str(uuid4()),
        name=name,
        policy=None if file is None else read_policy(file),
        validate_only=dry_run,
    )
    with connect() as connection:
        answer = connection.call(connection.policies.ActivatePolicy, request)
    if output is not OutputFormat.TABLE:
        _print(answer.policy, output, answer.activated_at_sequence)
    elif dry_run:
        print(f"{answer.policy.name} can be activated")
    else:
        title = f"{answer.policy.name}@{answer.policy.version}"
        print(f"{title} is active from log sequence {answer.activated_at_sequence}")


def _known(connection: "Connection") -> "list[tuple[int, policies_pb2.Policy]]":
    from fogbank.v1 import policy_service_pb2

    answer = connection.call(
        connection.policies.ListPolicies, policy_service_pb2.ListPoliciesRequest()
    )
    return list(enumerate(answer.policies))


def read_policy(file: Path) -> "policies_pb2.Policy":
    """Return the policy that a file holds, YAML or JSON; `-` for standard input."""
    import yaml
    from google.protobuf import json_format

    from fogbank.v1 import policies_pb2

    try:
        data = yaml.safe_load(sys.stdin if str(file) == "-" else file.read_text())
        return json_format.ParseDict(data, policies_pb2.Policy())
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, json_format.ParseError, AttributeError, TypeError) as error:
        raise CommandError(
            f"{file}: {error}", hint="to begin with: fog policy show balanced -o yaml"
        ) from None


def _row(policy: "policies_pb2.Policy", *, active: bool) -> dict[str, Any]:
    return {
        "name": policy.name,
        "active": active,
        "version": policy.version,
        "strategy": policy.strategy,
        "classes": {kind.name: kind.strategy for kind in policy.classes},
        "ties": _word(policy),
        "retries": list(policy.retry_backoff_ms),
        "lost_after_ms": policy.lost_after_ms,
    }


def _word(policy: "policies_pb2.Policy") -> str:
    from fogbank.v1 import policies_pb2

    return policies_pb2.TieRule.Name(policy.ties).removeprefix("TIE_RULE_").lower()


def _print(policy: "policies_pb2.Policy", output: OutputFormat, sequence: int = 0) -> None:
    from google.protobuf import json_format

    if output is OutputFormat.NAME:
        print(policy.name)
        return
    data = json_format.MessageToDict(
        policy, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    if sequence:
        print(f"active from log sequence {sequence}", file=sys.stderr)
    print_data(data, OutputFormat.JSON if output is OutputFormat.JSON else OutputFormat.YAML)
