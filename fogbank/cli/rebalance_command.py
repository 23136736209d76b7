"""`fog rebalance`: which replicas would be worth more elsewhere, and moving them."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.failures import CommandError, UsageFailure
from fogbank.cli.output import (
    AsTable,
    Column,
    Output,
    OutputFormat,
    counted,
    print_data,
    print_table,
    table,
)

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection
    from fogbank.v1.node_service_pb2 import PlanRebalanceResponse, Rebalance, RebalanceTerms

_POLL_S = 0.3

_COLUMNS = (
    Column("DEPLOYMENT", "deployment"),
    Column("SLOT", "slot"),
    Column("FROM", "from"),
    Column("TO", "to"),
    Column("SCORE", "score_before"),
    Column("THERE", "score_after"),
    Column("GAIN", "gain"),
    Column("REPLICA", "replica_id", wide=True),
    Column("DEPLOYMENT ID", "deployment_id", wide=True),
)


def rebalance(  # noqa: PLR0917  one parameter for each flag
    budget: Annotated[int, typer.Option("--budget", min=1, help="At most so many moves.")] = 100,
    min_gain: Annotated[
        int,
        typer.Option(
            "--min-gain",
            min=1,
            help="Least gain of a move, in thousandths of a replica's best score.",
        ),
    ] = 10,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, help="At most so many moves at a time.")
    ] = 10,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, after a question.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what goes on.")] = False,
    status: Annotated[bool, typer.Option("--status", help="How far the last one is.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is over.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 600,
    request_id: Annotated[
        str, typer.Option("--request-id", help="Makes a repeat of this command safe.")
    ] = "",
    output: Output = AsTable,
) -> None:
    """Show which replicas would be worth more on another node; with --apply, move them.

    Each successor runs before its predecessor stops. On a terminal it asks whether to go on.
    """
    from fogbank.cli.connection import connect
    from fogbank.v1 import node_service_pb2

    if (apply and (stop or status)) or (stop and status):
        raise UsageFailure("--apply, --stop and --status exclude one another")
    terms = node_service_pb2.RebalanceTerms(
        budget=0 if stop else budget, min_gain=min_gain, at_once=at_once
    )
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    if apply and not yes and not asks:
        raise UsageFailure("nobody is there to confirm it", hint="give --yes (-y)")
    with connect() as connection:
        if stop or status:
            state = _applied(connection, terms, request_id) if stop else _state(connection)
        else:
            plan = connection.call(
                connection.nodes.PlanRebalance,
                node_service_pb2.PlanRebalanceRequest(terms=terms),
            )
            quiet = apply and output in {OutputFormat.JSON, OutputFormat.YAML}
            if not quiet:  # then what came of it is the answer
                _show_plan(plan, output)
            if not plan.moves or not _wanted(plan, output, apply=apply, yes=yes, asks=asks):
                if quiet:
                    _show_plan(plan, output)
                return
            state = _applied(connection, terms, request_id)
        if wait:
            state = _wait(connection, timeout)
    _show_state(state, output)


def _wanted(
    plan: "PlanRebalanceResponse", output: OutputFormat, *, apply: bool, yes: bool, asks: bool
) -> bool:
    if apply and yes:
        return True
    if not (asks and (apply or output in {OutputFormat.TABLE, OutputFormat.WIDE})):
        return False
    return typer.confirm(f"Move {counted(len(plan.moves))}?")


def _show_plan(plan: "PlanRebalanceResponse", output: OutputFormat) -> None:
    rows = _moves(plan)
    if output is OutputFormat.NAME:
        for row in rows:
            print(row["replica_id"])
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        content: dict[str, Any] = {
            "moves": rows,
            "replicas": plan.replicas,
            "worth_before": plan.worth_before,
            "worth_after": plan.worth_after,
            "complete": plan.complete,
            "as_of_sequence": plan.as_of_sequence,
        }
        print_data(content, output)
    elif not rows:
        print(f"nothing to move: {counted(plan.replicas)} worth {_mean(plan, plan.worth_before)}")
    else:
        print_table(table(rows, _COLUMNS, wide=output is OutputFormat.WIDE))
        print()
        print(
            f"{counted(plan.replicas)} worth {_mean(plan, plan.worth_before)} now, "
            f"{_mean(plan, plan.worth_after)} after {_counted_moves(len(rows))}"
        )
        print("scores leave out the load that nodes measure, which `fog explain` counts")
        if not plan.complete:
            print("a larger --budget may lead to more")


def _mean(plan: "PlanRebalanceResponse", worth: int) -> str:
    return f"{worth / max(plan.replicas, 1):.1f} of 1000 points on average"


def _counted_moves(moves: int) -> str:
    return "1 move" if moves == 1 else f"{moves} moves"


def _moves(plan: "PlanRebalanceResponse") -> list[dict[str, Any]]:
    return [
        {
            "deployment": move.deployment_name,
            "deployment_id": move.deployment_id,
            "slot": move.slot,
            "replica_id": move.replica_id,
            "from": move.from_node_name,
            "to": move.to_node_name,
            "score_before": move.score_before,
            "score_after": move.score_after,
            "gain": move.gain,
        }
        for move in plan.moves
    ]


def _applied(connection: "Connection", terms: "RebalanceTerms", request_id: str) -> "Rebalance":
    from uuid import uuid4

    from fogbank.v1 import node_service_pb2

    answer = connection.call(
        connection.nodes.ApplyRebalance,
        node_service_pb2.ApplyRebalanceRequest(request_id=request_id or str(uuid4()), terms=terms),
    )
    return answer.rebalance


def _state(connection: "Connection") -> "Rebalance":
    from fogbank.v1 import node_service_pb2

    request = node_service_pb2.GetRebalanceRequest()
    return connection.call(connection.nodes.GetRebalance, request).rebalance


def _wait(connection: "Connection", timeout_s: float) -> "Rebalance":
    """Wait until nothing is moved any more, with a line of progress on a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from fogbank.cli.output import console

    ends_at = time.monotonic() + timeout_s
    with Progress(
        TextColumn("rebalance"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:g} moved, {task.fields[moving]} under way"),
        TimeElapsedColumn(),
        console=console(errors=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("", total=None, moving=0)
        while True:
            state = _state(connection)
            if _phase(state) != "moving" and not state.moving:
                return state
            progress.update(task, completed=state.moved, moving=state.moving)
            if time.monotonic() > ends_at:
                raise CommandError(
                    f"not over after {timeout_s:g} s: {state.moved} moved, {state.moving} under "
                    "way",
                    hint="it goes on; `fog rebalance --status` shows how, `--stop` ends it",
                )
            time.sleep(_POLL_S)


def _phase(state: "Rebalance") -> str:
    from fogbank.cli.enum_words import enum_word
    from fogbank.v1 import node_service_pb2

    return enum_word(node_service_pb2.RebalancePhase, state.phase, "REBALANCE_PHASE_")


def _show_state(state: "Rebalance", output: OutputFormat) -> None:
    from fogbank.cli.views import instant

    phase = _phase(state)
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        content = {
            "phase": phase,
            "budget": state.terms.budget,
            "min_gain": state.terms.min_gain,
            "at_once": state.terms.at_once,
            "requested_at": instant(state.requested_at),
            "moved": state.moved,
            "moving": state.moving,
            "gained": state.gained,
            "message": state.message,
            "as_of_sequence": state.as_of_sequence,
        }
        print_data(content, output)
    elif output is OutputFormat.NAME:
        print(phase)
    else:
        print(f"{phase}: {state.message}")
        if phase == "none":
            return
        print(
            f"{counted(state.moved)} moved, of them {state.moving} waiting for their successors; "
            f"{state.gained} points gained"
        )
        if phase == "moving":
            print("follow it: fog rebalance --status --wait")
