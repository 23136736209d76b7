"""`fog plan` and `fog explain`: what would happen, and why things are as they are."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fogbank.cli.deploy_command import asked_for
from fogbank.cli.deploy_flags import (
    AllowColocation,
    Another,
    AutoRollback,
    Cluster,
    Constraint,
    Cpu,
    Env,
    File,
    Gpu,
    GpuModel,
    Image,
    Label,
    LostAfter,
    MaxSurge,
    MaxUnavailable,
    Memory,
    MinHealthy,
    Name,
    Port,
    Priority,
    Probe,
    ProgressDeadline,
    Region,
    Replace,
    Replicas,
    Restart,
    StopGrace,
    StopOnClientAfter,
    Storage,
    Strategy,
    Type,
    VolumeFlag,
    WaitForCapacity,
)
from fogbank.cli.output import (
    AsTable,
    Column,
    Output,
    OutputFormat,
    console,
    counted,
    print_data,
    print_table,
    table,
)

if TYPE_CHECKING:
    from pathlib import Path

    from fogbank.cli.connection import Connection
    from fogbank.v1.deployments_pb2 import Deployment, DeploymentSpec

_NOTHING_TO_CHANGE, _CHANGES = 0, 1

_EVICTED_COLUMNS = (
    Column("DEPLOYMENT", "deployment"),
    Column("ID", "deployment_id"),
    Column("REPLICAS", "replica_ids"),
)
_DIFFERENCE_COLUMNS = (
    Column("FIELD", "field"),
    Column("DEPLOYED", "deployed"),
    Column("ASKED FOR", "asked_for"),
)
_SCORE_COLUMNS = (Column("NODE", "node"), Column("SCORE", "score"))
_BOTH_SCORES_COLUMNS = (
    Column("NODE", "node"),
    Column("SCORE THEN", "score"),
    Column("SCORE NOW", "score_now"),
)
_ROUND_COLUMNS = (
    Column("SEQUENCE", "sequence"),
    Column("WHEN", "decided_at"),
    Column("FOR", "slots"),
)
_FILTER_COLUMNS = (
    Column("TURNED DOWN", "nodes"),
    Column("BY", "filter"),
    Column("BECAUSE", "reason"),
)


def plan(  # noqa: PLR0917  one parameter for each flag
    context: typer.Context,
    name: Name = None,
    file: File = None,
    image: Image = None,
    replicas: Replicas = 1,
    cpu: Cpu = 1.0,
    memory: Memory = 512,
    gpu: Gpu = 0,
    storage: Storage = 10,
    type: Type = "compute",
    region: Region = "",
    priority: Priority = None,
    env: Env = None,
    label: Label = None,
    constraint: Constraint = None,
    gpu_model: GpuModel = "",
    restart: Restart = "always",
    strategy: Strategy = "",
    cluster: Cluster = "",
    allow_colocation: AllowColocation = False,
    wait_for_capacity: WaitForCapacity = False,
    lost_after: LostAfter = "",
    replace: Replace = True,
    stop_on_client_after: StopOnClientAfter = "",
    port: Port = None,
    volume: VolumeFlag = None,
    probe: Probe = "",
    stop_grace: StopGrace = "",
    max_surge: MaxSurge = None,
    max_unavailable: MaxUnavailable = None,
    min_healthy: MinHealthy = "",
    progress_deadline: ProgressDeadline = "",
    auto_rollback: AutoRollback = None,
    another: Another = False,
    output: Output = AsTable,
) -> int:
    """Show what `fog deploy` with the same flags would lead to; changes nothing.

    Where the name is taken, show in what the deployment that has it differs. Exits with 0 if all of
    it is deployed already, 1 if something would change, 255 on an error.
    """
    texts = asked_for(context, locals())
    from fogbank.cli.already_deployed import living_namesakes
    from fogbank.cli.connection import connect
    from fogbank.cli.deployment_requests import deployment_spec
    from fogbank.cli.regions import warn_of_regions

    specs = [deployment_spec(text) for text in texts]
    with connect() as connection:
        namesakes = [[] for _ in texts] if another else living_namesakes(connection, texts)
        plans = [
            _compared(spec, there) if there else _planned(connection, spec)
            for spec, there in zip(specs, namesakes, strict=True)
        ]
        warn_of_regions(connection, (text.region for text in texts))
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(plans if len(plans) > 1 else plans[0], output)
    else:
        for index, made in enumerate(plans):
            if index:
                print()
            _show_plan(made, output, file)
    changed = any(made["action"] != "none" for made in plans)
    return _CHANGES if changed else _NOTHING_TO_CHANGE


def _planned(connection: "Connection", spec: "DeploymentSpec") -> dict[str, Any]:
    """Return what a new deployment would lead to."""
    from fogbank.cli.explanations import plan_content
    from fogbank.v1 import deployment_service_pb2

    answer = connection.call(
        connection.deployments.PlanDeployment,
        deployment_service_pb2.PlanDeploymentRequest(spec=spec),
    )
    return {"name": spec.name, "action": "create"} | plan_content(answer)


def _compared(spec: "DeploymentSpec", there: "list[Deployment]") -> dict[str, Any]:
    """Return in what a deployment differs from the ones that have its name: nothing, at best."""
    from fogbank.cli.already_deployed import differences

    found = {each.id: differences(each.spec, spec) for each in there}
    for known, unlike in found.items():
        if not unlike:
            return {"name": spec.name, "action": "none", "deployment_id": known}
    if len(found) > 1:
        return {"name": spec.name, "action": "refuse", "deployment_ids": list(found)}
    known, unlike = found.popitem()
    return {"name": spec.name, "action": "update", "deployment_id": known, "differences": unlike}


def _show_plan(made: dict[str, Any], output: OutputFormat, file: "Path | None") -> None:
    name = made["name"]
    if output is OutputFormat.NAME:
        print(made.get("deployment_id", name))
        return
    if made["action"] in {"update", "refuse"}:
        _show_taken(made, file)
        return
    if made["action"] == "none":
        print(f"{name}: nothing to change; {made['deployment_id']} is deployed like that")
        return
    explanation = made["explanation"]
    if made["success"]:
        print(f"{name}: {counted(len(made['scheduled']))} would be placed")
        _print_candidates(made["scheduled"])
        if made["preempted"]:
            print()
            print("What would be evicted for it, to be placed again when there is room:")
            print_table(table(made["preempted"], _EVICTED_COLUMNS))
    else:
        print(f"{name}: can't be placed now: {made['error']}")
    print()
    _print_explanation(explanation)


def _show_taken(made: dict[str, Any], file: "Path | None") -> None:
    from fogbank.cli.already_deployed import instead

    name = made["name"]
    known = made.get("deployment_id") or ", ".join(made["deployment_ids"])
    print(f"{name}: `fog deploy` would refuse it: {name} ({known}) is deployed already")
    if made["action"] == "update":
        print("It differs in:")
        print_table(table(made["differences"], _DIFFERENCE_COLUMNS))
    print(instead(name, file))


def explain(
    deployment: Annotated[str, typer.Argument(help="Its id, or its name if no other has it.")],
    output: Output = AsTable,
) -> None:
    """Say why a deployment is where it is, or what would let it be placed."""
    from fogbank.cli.connection import connect
    from fogbank.cli.explanations import explanation_content
    from fogbank.cli.lookups import deployment_id
    from fogbank.v1 import deployment_service_pb2

    with connect() as connection:
        known = deployment_id(connection, deployment)
        answer = connection.call(
            connection.deployments.ExplainDeployment,
            deployment_service_pb2.ExplainDeploymentRequest(deployment_id=known),
        )
    told = {"deployment_id": known} | explanation_content(answer)
    if output is OutputFormat.NAME:
        print(known)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(told, output)
    else:
        _show_explanation(told)


def _show_explanation(told: dict[str, Any]) -> None:
    print(told["summary"])
    decision, now = told["decided_at_sequence"], told["now"]
    same = now is not None and _figures(told["explanation"]) == _figures(now)
    if decision is not None:
        print()
        _print_decision(told, same=same)
    if now is not None:
        if not same or decision is None:
            print()
            print(f"As of sequence {told['as_of_sequence']}:")
        _print_explanation(now)


def _print_decision(told: dict[str, Any], *, same: bool) -> None:
    """Print the figures of the latest decision, by themselves, and where to find the others.

    Those that are the `same` by now are left to the look at the present.
    """
    sequence, explanation = told["decided_at_sequence"], told["explanation"]
    shown = next((each for each in told["rounds"] if each["sequence"] == sequence), None)
    which = f" ({shown['decided_at']}), for {_slots(shown['slots'])}" if shown else ""
    also = f", and the same as of sequence {told['as_of_sequence']}" if same else ""
    others = [each for each in told["rounds"] if each is not shown]
    if others:
        print("Decided by other rounds:")
        rows = [each | {"slots": _slots(each["slots"])} for each in others]
        print_table(table(rows, _ROUND_COLUMNS))
        print(f"what each saw: fog audit log deployment/{told['deployment_id']}")
        print()
    print(f"Decided by the round at sequence {sequence}{which}{also}:")
    if same:
        return
    _print_counts(explanation)
    if not explanation["best"]:
        return
    print()
    if told["now"] is not None:
        print("Best nodes then (a round keeps their scores, not the terms of these):")
        print_table(table(explanation["best"], _SCORE_COLUMNS))
        return
    without = f" without {_slots(shown['slots'])}" if shown else ""
    print(
        f"Best nodes then, and the same as of sequence {told['as_of_sequence']}{without}, with the "
        "terms of the score now:"
    )
    _print_candidates(explanation["best"], _BOTH_SCORES_COLUMNS)
    if any(one["score"] != one["score_now"] for one in explanation["best"]):
        print("scores change with the load that nodes measure, what else is placed, the policy")


def _slots(slots: list[int]) -> str:
    """Return slots in words, neighbours as a span."""
    spans: list[list[int]] = []
    for slot in slots:
        if spans and slot == spans[-1][-1] + 1:
            spans[-1][1:] = [slot]
        else:
            spans.append([slot])
    named = ", ".join("-".join(str(slot) for slot in span) for span in spans)
    return f"{'slot' if len(slots) == 1 else 'slots'} {named}"


def _figures(explanation: dict[str, Any]) -> tuple[object, ...]:
    """Return the figures of a look that can be told from others by them."""
    best = [(one["node_id"], one["score"]) for one in explanation["best"]]
    counts = explanation["nodes_considered"], explanation["nodes_feasible"]
    return (counts, explanation["filters"], best)


def _print_explanation(explanation: dict[str, Any]) -> None:
    _print_counts(explanation)
    if explanation["best"]:
        print()
        print("Best nodes, with the terms of their score:")
        _print_candidates(explanation["best"])
    _print_hints(explanation)


def _print_counts(explanation: dict[str, Any]) -> None:
    print(
        f"{counted(explanation['nodes_considered'], 'node')} looked at, "
        f"{explanation['nodes_feasible']} with room for a replica"
    )
    if explanation["filters"]:
        print_table(table(explanation["filters"], _FILTER_COLUMNS))


def _print_hints(explanation: dict[str, Any]) -> None:
    if explanation["would_unblock"]:
        print()
        print("What would unblock it:")
        for hint in explanation["would_unblock"]:
            console().print(f"  - {hint}", markup=False)


def _print_candidates(
    candidates: list[dict[str, Any]], scores: tuple[Column, ...] = _SCORE_COLUMNS
) -> None:
    """Print nodes with a column for each term of their score."""
    names = list(dict.fromkeys(name for one in candidates for name in one["terms"]))
    columns = [*scores, *(Column(name.upper(), name) for name in names)]
    rows = [
        one | {name: f"{value:.3f}" for name, value in one["terms"].items()} for one in candidates
    ]
    print_table(table(rows, columns))
