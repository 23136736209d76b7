"""`fog audit verify --decisions`: rounds derived again, by the ledger or here."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fogbank.cli.failures import CommandError, UsageFailure
from fogbank.cli.output import OutputFormat, console, print_data

if TYPE_CHECKING:
    from fogbank.cli.whole_log import LogSource
    from fogbank.domain.rederived import Verification

Progress = Callable[[int, int], None]


def verified_by_the_ledger(first: int, last: int, progress: Progress) -> "Verification":
    """Let the ledger of the server derive the rounds of its copy of the log again."""
    from fogbank.cli.connection import connect
    from fogbank.codec.audit import rederived_from_pb
    from fogbank.domain.rederived import Verification
    from fogbank.v1 import audit_service_pb2 as pb

    found = Verification()
    with connect() as connection:
        request = pb.VerifyDecisionsRequest(from_sequence=first, to_sequence=last)
        for message in connection.audit.VerifyDecisions(request, metadata=connection.metadata):
            part = rederived_from_pb(message)
            found.take(part)
            span = part.span
            progress(max(0, part.sequence - span.begun_after), span.last - span.begun_after)
    return found


def verified_here(source: "LogSource", first: int, last: int, progress: Progress) -> "Verification":
    """Read the log from the broker and derive its rounds again in this process."""
    import asyncio

    from fogbank.domain.errors import InvalidArgumentError

    try:
        from fogbank.cli.verification import verify_source
    except ModuleNotFoundError as error:
        raise CommandError(
            f"deciding needs {error.name}, which isn't installed",
            hint="install fogbank[scheduler] beside the command line, or let the ledger do it: "
            "leave out --data-dir and --nats-url",
        ) from error
    try:
        return asyncio.run(verify_source(source, progress, first=first or 1, last=last))
    except InvalidArgumentError as error:
        raise UsageFailure(error.message) from error


def print_verification(found: "Verification", output: OutputFormat) -> None:
    """Print what came of deriving rounds again."""
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(as_data(found), output)
    elif output is OutputFormat.NAME:
        for each in found.different:
            print(each.sequence)
    else:
        _print_for_people(found)


def as_data(found: "Verification") -> dict[str, Any]:
    """Return what came of deriving rounds again as plain data."""
    from dataclasses import asdict

    return {
        "clean": found.clean,
        "commits": found.commits,
        "rounds": {
            "same": found.same,
            "different": found.different_total,
            "unverifiable": sum(found.unverifiable.values()),
            "void": found.void,
        },
        "unverifiable_by_engine": {
            str(engine): rounds for engine, rounds in sorted(found.unverifiable.items())
        },
        "different": [
            {"sequence": each.sequence, "terms": [asdict(term) for term in each.terms]}
            for each in found.different
        ],
    }


def _print_for_people(found: "Verification") -> None:
    screen = console()
    for each in found.different:
        screen.print(f"round at sequence {each.sequence} comes out differently:", style="red")
        for term in each.terms:
            screen.print(f"  {term}", markup=False)
    unsaid = found.different_total - len(found.different)
    if unsaid:
        screen.print(f"... and {unsaid} more rounds")
    screen.print(f"{'commits:':<22}{found.commits}")
    screen.print(f"{'rounds derived again:':<22}{found.same + found.different_total}")
    screen.print(f"{'void rounds:':<22}{found.void}")
    for engine, rounds in sorted(found.unverifiable.items()):
        screen.print(f"{'unverifiable:':<22}{rounds} rounds of engine {engine}")
    verdict = "every one the same" if found.clean else f"{found.different_total} differ"
    screen.print(f"{'verdict:':<22}{verdict}", style="green" if found.clean else "red")
