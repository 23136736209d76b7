"""`fog update`: changes some fields by flags, or makes deployments what a file says."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import typer

from fogbank.cli.amounts import AMOUNTS
from fogbank.cli.deploy_flags import (
    Another,
    AutoRollback,
    LostAfter,
    MaxSurge,
    MaxUnavailable,
    MinHealthy,
    Probe,
    ProgressDeadline,
    StopGrace,
    StopOnClientAfter,
)
from fogbank.cli.failures import CommandError, UsageFailure, warn
from fogbank.cli.output import AsTable, Output, OutputFormat
from fogbank.cli.update_flags import (
    AllowColocation,
    Cluster,
    Constraint,
    Cpu,
    Env,
    Etag,
    File,
    Gpu,
    GpuModel,
    Image,
    Label,
    Memory,
    NewName,
    Port,
    Priority,
    Region,
    Repeat,
    Replace,
    Replicas,
    Restart,
    Storage,
    Strategy,
    Timeout,
    Type,
    VolumeFlag,
    Wait,
    WaitForCapacity,
    WhichOrFile,
)

if TYPE_CHECKING:
    from fogbank.cli.connection import Connection
    from fogbank.cli.deployment_files import DeploymentText
    from fogbank.v1.deployment_service_pb2 import UpdateDeploymentRequest
    from fogbank.v1.deployments_pb2 import Deployment

# Flags whose value is the field's.
_AS_THEY_ARE = {
    "name": "name",
    "image": "container_image",
    "replicas": "replicas",
    "region": "region",
    "cluster": "cluster_id",
    "strategy": "strategy",
    "gpu_model": "gpu_model",
    "allow_colocation": "allow_colocation",
    "wait_for_capacity": "wait_for_capacity",
}
# What goes with a file as well.
_BESIDE_A_FILE = {
    "deployment",
    "file",
    "etag",
    "request_id",
    "another",
    "wait",
    "timeout",
    "output",
}


def update(  # noqa: PLR0917  one parameter for each flag
    context: typer.Context,
    deployment: WhichOrFile = None,
    file: File = None,
    name: NewName = None,
    image: Image = None,
    replicas: Replicas = None,
    cpu: Cpu = None,
    memory: Memory = None,
    storage: Storage = None,
    gpu: Gpu = None,
    type: Type = None,
    region: Region = None,
    priority: Priority = None,
    cluster: Cluster = None,
    env: Env = None,
    label: Label = None,
    constraint: Constraint = None,
    gpu_model: GpuModel = None,
    restart: Restart = None,
    strategy: Strategy = None,
    allow_colocation: AllowColocation = None,
    wait_for_capacity: WaitForCapacity = None,
    port: Port = None,
    volume: VolumeFlag = None,
    probe: Probe = "",
    stop_grace: StopGrace = "",
    max_surge: MaxSurge = None,
    max_unavailable: MaxUnavailable = None,
    min_healthy: MinHealthy = "",
    progress_deadline: ProgressDeadline = "",
    auto_rollback: AutoRollback = None,
    lost_after: LostAfter = "",
    replace: Replace = None,
    stop_on_client_after: StopOnClientAfter = "",
    etag: Etag = "",
    request_id: Repeat = "",
    another: Another = False,
    wait: Wait = False,
    timeout: Timeout = 600,
    output: Output = AsTable,
) -> None:
    """Change a deployment; its replicas are replaced step by step where that takes new ones.

    With a file, deployments of the names in it become what it says, all of it; without an
    environment in it they keep theirs. Exits with 2 if --wait is given and no node could ever hold
    a replica.
    """
    flags = dict(locals())
    from fogbank.cli.connection import connect
    from fogbank.cli.regions import warn_of_regions

    texts = _texts(context, file) if file is not None else []
    request = _request(flags) if not texts else None
    with connect() as connection:
        if request is not None:
            changed = [_updated(connection, request, str(deployment), another=another)]
        else:
            changed = _replaced(connection, texts, flags)
        warn_of_regions(connection, [region or "", *(text.region for text in texts)])
        _finish(connection, changed, output, timeout if wait else None)


def _finish(
    connection: "Connection",
    changed: "list[Deployment]",
    output: OutputFormat,
    timeout_s: float | None,
) -> None:
    """Wait for the updates and tell of them; what can never be carried out is not waited for.

    Raises:
        PlacementFailedError: one of those that are waited for is such.
        CommandError: one of them went back.
    """
    from fogbank.cli.impossible import impossible_updates
    from fogbank.cli.rollout_commands import finish, warn_of_going_back

    failures = impossible_updates(connection, changed)
    if changed:
        finish(connection, changed, output, None if failures else timeout_s, "updated")
    for failure in failures if timeout_s is None else failures[1:]:
        warn(failure)
    if timeout_s is None:
        warn_of_going_back(connection, changed)
    if failures and timeout_s is not None:
        raise failures[0]


def _texts(context: typer.Context, file: Path) -> "list[DeploymentText]":
    """Return what a file asks for, if nothing else does.

    Raises:
        UsageFailure: flags ask for something too, or for what only one deployment can have.
    """
    from fogbank.cli.already_deployed import check_names_differ
    from fogbank.cli.beside_a_file import check_beside_a_file, check_for_one
    from fogbank.cli.deployment_files import read_deployments

    check_beside_a_file(context, _BESIDE_A_FILE)
    texts = read_deployments(file)
    check_names_differ(texts, file)
    check_for_one(context, ("deployment", "etag", "request_id"), texts, file)
    return texts


def _replaced(
    connection: "Connection", texts: "list[DeploymentText]", flags: Mapping[str, Any]
) -> "list[Deployment]":
    """Make deployments what a file says, once all of them are found.

    Those that are so already are told to people here, and returned for programs.
    """
    from fogbank.cli.already_deployed import check_new_name_is_free, differences
    from fogbank.cli.deployment_requests import deployment_spec, replacing_request
    from fogbank.cli.rollout_commands import warn_of_going_back

    ended = []
    for text, there in zip(texts, _found(connection, texts, flags), strict=True):
        # An environment can't be compared: nobody is shown it.
        if text.env is None and not differences(there.spec, deployment_spec(text)):
            if flags["output"] in {OutputFormat.TABLE, OutputFormat.WIDE}:
                print(f"{text.name} ({there.id}): nothing to change")
                warn_of_going_back(connection, [there])
            else:
                ended.append(there)
            continue
        if not flags["another"]:
            check_new_name_is_free(connection, there, text)
        request = replacing_request(text, there.id, flags["request_id"], flags["etag"])
        answer = connection.call(connection.deployments.UpdateDeployment, request)
        ended.append(answer.deployment)
    return ended


def _found(
    connection: "Connection", texts: "list[DeploymentText]", flags: Mapping[str, Any]
) -> "list[Deployment]":
    from fogbank.cli.already_deployed import living_namesakes
    from fogbank.cli.lookups import deployment_id, get_deployment, only

    if flags["deployment"] is not None:
        return [get_deployment(connection, deployment_id(connection, flags["deployment"]))]
    found, file = [], flags["file"]
    for text, there in zip(texts, living_namesakes(connection, texts), strict=True):
        if not there:
            raise CommandError(
                f"{text.name} is not deployed yet",
                hint=f"deploy it with `fog deploy -f {file}`; `fog update NAME -f {file}` changes "
                "one that has another name or cluster",
            )
        known = only([each.id for each in there], text.name, "deployment", "")
        found += [each for each in there if each.id == known]
    return found


def _updated(
    connection: "Connection",
    request: "UpdateDeploymentRequest",
    deployment: str,
    *,
    another: bool,
) -> "Deployment":
    from fogbank.cli.already_deployed import check_new_name_is_free
    from fogbank.cli.lookups import deployment_id, get_deployment
    from fogbank.v1 import deployments_pb2

    request.deployment_id = deployment_id(connection, deployment)
    changed = {"name", "cluster_id"}.intersection(request.update_mask.paths)
    if changed and not another:
        there = get_deployment(connection, request.deployment_id)
        wanted = deployments_pb2.DeploymentSpec(
            name=there.spec.name, cluster_id=there.spec.cluster_id
        )
        for field in changed:
            setattr(wanted, field, getattr(request.spec, field))
        check_new_name_is_free(connection, there, wanted)
    return connection.call(connection.deployments.UpdateDeployment, request).deployment


def _request(flags: dict[str, Any]) -> "UpdateDeploymentRequest":
    """Return the request for what the flags change.

    Raises:
        UsageFailure: they change nothing, or one of them makes no sense.
    """
    from fogbank.cli.tenancy_lookups import flagged_cluster
    from fogbank.v1 import deployment_service_pb2

    if flags["deployment"] is None:
        raise UsageFailure(
            "say what to update",
            hint="fog update NAME --image nginx:1.27, or fog update -f examples/nginx-server.yaml",
        )
    if flags["cluster"] is not None:
        flags["cluster"] = flagged_cluster(flags["cluster"])
    request = deployment_service_pb2.UpdateDeploymentRequest(
        request_id=flags["request_id"] or str(uuid4()), etag=flags["etag"]
    )
    _fill(request, flags)
    if not request.update_mask.paths:
        raise UsageFailure("say what to change", hint="such as --image nginx:1.27; see --help")
    return request


def _fill(request: "UpdateDeploymentRequest", flags: Mapping[str, Any]) -> None:
    """Put what was given into a request, and its fields into the mask."""
    from fogbank.cli import deployment_files as files
    from fogbank.cli.deploy_command import one_of
    from fogbank.cli.deployment_requests import constraint_message, restart_policy, service_type

    spec, mask = request.spec, request.update_mask.paths
    for field, amount in AMOUNTS.items():
        if flags[amount.name] is not None:
            setattr(spec.resources, field, round(flags[amount.name] * amount.per_unit))
            mask.append(f"resources.{field}")
    for flag, field in _AS_THEY_ARE.items():
        if flags[flag] is not None:
            setattr(spec, field, flags[flag])
            mask.append(field)
    if flags["type"] is not None:
        spec.type = service_type(one_of("--type", flags["type"], files.SERVICE_TYPES))
        mask.append("type")
    if flags["restart"] is not None:
        spec.restart = restart_policy(one_of("--restart", flags["restart"], files.RESTARTS))
        mask.append("restart")
    if flags["priority"] is not None:
        spec.priority = files.parse_priority(flags["priority"], "--priority")
        mask.append("priority")
    _fill_rollout(spec.rollout, mask, flags)
    _fill_disconnect(spec.disconnect, mask, flags)
    _fill_container(spec.container, mask, flags)
    for flag, target in (("env", request.env), ("label", spec.labels)):
        if flags[flag]:
            target.update(dict(files.parse_pair(pair, f"--{flag}") for pair in flags[flag]))
            mask.append("env" if flag == "env" else "labels")
    if flags["constraint"]:
        demands = [files.parse_constraint(one, "--constraint") for one in flags["constraint"]]
        spec.constraints.extend(constraint_message(demand) for demand in demands)
        mask.append("constraints")


def _fill_rollout(rules: Any, mask: Any, flags: Mapping[str, Any]) -> None:
    from fogbank.cli.deploy_command import rollout_rules

    for field, rule in rollout_rules(flags).items():
        setattr(rules, field, rule)
        mask.append(f"rollout.{field}")


def _fill_disconnect(rules: Any, mask: Any, flags: Mapping[str, Any]) -> None:
    from fogbank.cli.durations import milliseconds

    for flag in ("lost_after", "stop_on_client_after"):
        if flags[flag]:
            setattr(rules, f"{flag}_ms", milliseconds(flags[flag]))
            mask.append(f"disconnect.{flag}_ms")
    if flags["replace"] is not None:
        rules.replace = flags["replace"]
        mask.append("disconnect.replace")


def _fill_container(container: Any, mask: Any, flags: Mapping[str, Any]) -> None:
    from fogbank.cli.container_text import container_message, flagged
    from fogbank.cli.durations import milliseconds

    grace_ms = milliseconds(flags["stop_grace"]) if flags["stop_grace"] else 0
    given = flagged(flags["port"] or (), flags["volume"] or (), flags["probe"], grace_ms)
    if (message := container_message(given, "flags")) is not None:
        container.MergeFrom(message)
        mask.extend(f"container.{field}" for field in given)
