"""`fog deploy`: hands in one deployment by flags, or many by a file."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

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
    RequestId,
    Restart,
    StopGrace,
    StopOnClientAfter,
    Storage,
    Strategy,
    Timeout,
    Type,
    VolumeFlag,
    Wait,
    WaitForCapacity,
)
from fogbank.cli.failures import CommandError, PlacementFailedError, UsageFailure
from fogbank.cli.output import AsTable, Output, OutputFormat, print_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fogbank.cli.connection import Connection
    from fogbank.cli.deployment_batches import Accepted
    from fogbank.cli.deployment_files import DeploymentText
    from fogbank.v1.deployments_pb2 import Deployment

# What goes with a file as well.
_BESIDE_A_FILE = {"file", "request_id", "another", "wait", "timeout", "output"}


def deploy(  # noqa: PLR0917  one parameter for each flag
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
    request_id: RequestId = "",
    another: Another = False,
    wait: Wait = False,
    timeout: Timeout = 120,
    output: Output = AsTable,
) -> None:
    """Deploy replicas; exits with 2 if --wait is given and they can't be placed."""
    texts = asked_for(context, locals())
    _deploy(texts, output, file, another=another, timeout_s=timeout if wait else None)


def asked_for(context: typer.Context, flags: "Mapping[str, Any]") -> "list[DeploymentText]":
    """Return the deployments that a file or the flags, by their names here, ask for."""
    named = flags["name"] is not None or flags["image"] is not None
    if flags["file"] is None or named:
        return [_flagged(flags, named=named)]
    from fogbank.cli.already_deployed import check_names_differ
    from fogbank.cli.beside_a_file import check_beside_a_file, check_for_one
    from fogbank.cli.deployment_files import read_deployments

    check_beside_a_file(context, _BESIDE_A_FILE)
    texts = read_deployments(flags["file"])
    check_for_one(context, ["request_id"], texts, flags["file"])
    if known_as := flags.get("request_id"):
        texts = [replace(text, request_id=known_as) for text in texts]
    if not flags["another"]:
        check_names_differ(texts, flags["file"])
    return texts


def _flagged(flags: "Mapping[str, Any]", *, named: bool) -> "DeploymentText":
    """Return the deployment that flags ask for; it is `named`, or given an image at least.

    Raises:
        UsageFailure: they say too little, or a file says it too.
    """
    from fogbank.cli import deployment_files as files
    from fogbank.cli.container_text import flagged
    from fogbank.cli.tenancy_lookups import flagged_cluster
    from fogbank.domain.deployment import RolloutSpec

    name, image, priority = flags["name"], flags["image"], flags["priority"]
    if not named:
        raise UsageFailure(
            "say what to deploy",
            hint="fog deploy NAME --image IMAGE, or fog deploy -f examples/nginx-server.yaml",
        )
    if flags["file"] is not None:
        raise UsageFailure("give either a file or a name with --image, not both")
    if not name or not image:
        missing = "which image to run" if name else "what to call it"
        raise UsageFailure(f"say {missing}", hint="fog deploy NAME --image IMAGE")
    return files.DeploymentText(
        name=name,
        container_image=image,
        type=one_of("--type", flags["type"], files.SERVICE_TYPES),
        replicas=flags["replicas"],
        cpu=flags["cpu"],
        memory=flags["memory"],
        gpu=flags["gpu"],
        storage=flags["storage"],
        env=dict(files.parse_pair(pair, "--env") for pair in flags["env"] or []),
        region=flags["region"],
        priority=None if priority is None else files.parse_priority(priority, "--priority"),
        cluster_id=flagged_cluster(flags["cluster"]) if flags["cluster"] else 0,
        strategy=flags["strategy"],
        wait_for_capacity=flags["wait_for_capacity"],
        constraints=tuple(
            files.parse_constraint(one, "--constraint") for one in flags["constraint"] or []
        ),
        gpu_model=flags["gpu_model"],
        restart=one_of("--restart", flags["restart"], files.RESTARTS),
        labels=dict(files.parse_pair(pair, "--label") for pair in flags["label"] or []),
        allow_colocation=flags["allow_colocation"],
        rollout=RolloutSpec(**rollout_rules(flags)),
        disconnect=files.DisconnectText(
            _milliseconds(flags, "lost_after"),
            flags["replace"],
            _milliseconds(flags, "stop_on_client_after"),
        ),
        container=flagged(
            flags["port"] or (),
            flags["volume"] or (),
            flags["probe"],
            _milliseconds(flags, "stop_grace"),
        ),
        request_id=flags.get("request_id", ""),
    )


def _milliseconds(flags: "Mapping[str, Any]", name: str) -> int:
    """Return a time among the flags; 0 for one not given."""
    from fogbank.cli.durations import milliseconds

    return milliseconds(flags[name]) if flags.get(name) else 0


def rollout_rules(flags: "Mapping[str, Any]") -> dict[str, Any]:
    """Return what flags say of how an update replaces replicas, by the names of a file."""
    given = {
        name: flags[name]
        for name in ("max_surge", "max_unavailable", "auto_rollback")
        if flags[name] is not None
    }
    times = {
        f"{name}_ms": _milliseconds(flags, name)
        for name in ("min_healthy", "progress_deadline")
        if flags[name]
    }
    return given | times


def one_of(option: str, value: str, words: tuple[str, ...]) -> str:
    """Return the value of a flag that must be one of some words.

    Raises:
        UsageFailure: it is none of them.
    """
    if value not in words:
        raise UsageFailure(f"{option} must be one of {', '.join(words)}, got {value!r}")
    return value


def _deploy(
    texts: "list[DeploymentText]",
    output: OutputFormat,
    file: Path | None,
    *,
    another: bool,
    timeout_s: float | None,
) -> None:
    """Hand all in, then wait for all; the first failure is told when all are done."""
    from fogbank.cli.already_deployed import check_names_are_free
    from fogbank.cli.connection import connect
    from fogbank.cli.deployment_batches import hand_in, shown
    from fogbank.cli.deployment_requests import create_request
    from fogbank.cli.regions import warn_of_regions

    requests = [create_request(text) for text in texts]
    with connect() as connection:
        if not another:
            check_names_are_free(connection, texts, file)
        accepted, failures = hand_in(connection, requests)
        if timeout_s is not None or len(texts) > 1:
            for each in accepted:
                _say(output, f"{each.name} ({each.id}) accepted")
        warn_of_regions(connection, (text.region for text in texts))
        made: list[Deployment] = []
        if timeout_s is not None:
            made, late = _wait(connection, accepted, output, timeout_s)
            failures += late
        elif output in {OutputFormat.JSON, OutputFormat.YAML}:
            made = shown(connection, accepted)
    _print(accepted, made, output, waited=timeout_s is not None, several=len(texts) > 1)
    if failures:
        # A failed placement tells more than one that merely takes long.
        told = next((one for one in failures if isinstance(one, PlacementFailedError)), failures[0])
        for other in failures:
            if other is not told:
                print(f"fog: {other.message}", file=sys.stderr)
        raise told


def _wait(
    connection: "Connection", accepted: "Sequence[Accepted]", output: OutputFormat, timeout_s: float
) -> "tuple[list[Deployment], list[CommandError]]":
    from fogbank.cli.lookups import get_deployment
    from fogbank.cli.output import counted
    from fogbank.cli.waiting import wait_running

    ended: list[Deployment] = []
    failures: list[CommandError] = []
    for each in accepted:
        try:
            running = wait_running(connection, each.id, timeout_s, each.sequence)
        except CommandError as error:
            failures.append(error)
            ended.append(get_deployment(connection, each.id))
        else:
            ended.append(running)
            _say(
                output,
                f"{running.spec.name} ({running.id}) runs with {counted(running.running_replicas)}",
            )
    return ended, failures


def _say(output: OutputFormat, text: str) -> None:
    """Tell a person; programs read the answer alone."""
    if output in {OutputFormat.TABLE, OutputFormat.WIDE}:
        print(text, flush=True)


def _print(
    accepted: "Sequence[Accepted]",
    made: "Sequence[Deployment]",
    output: OutputFormat,
    *,
    waited: bool,
    several: bool,
) -> None:
    from fogbank.cli.views import deployment_row

    if output is OutputFormat.NAME:
        for each in accepted:
            print(each.id)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        rows = [deployment_row(deployment) for deployment in made]
        print_data(rows if several else rows[0], output)
    elif not waited and not several:
        print(f"{accepted[0].name} ({accepted[0].id}) accepted")
        print(f"follow it: fog status {accepted[0].id}")
