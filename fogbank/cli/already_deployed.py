"""What is deployed already of what is asked for: what has its name, and in what that differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from fogbank.cli.amounts import AMOUNTS
from fogbank.cli.connection import Connection
from fogbank.cli.deployment_files import DeploymentText
from fogbank.cli.deployment_requests import create_request
from fogbank.cli.failures import CommandError, UsageFailure
from fogbank.cli.lookups import LIVING, all_deployments
from fogbank.codec.values import spec_from_pb
from fogbank.domain.deployment import DEFAULT_CLUSTER_ID, DeploymentSpec
from fogbank.domain.ids import command_event_id
from fogbank.v1 import deployment_service_pb2, deployments_pb2

_CREATE = "CreateDeployment"


class _Named(Protocol):
    """What has a name within a cluster; 0 is the default one."""

    @property
    def name(self) -> str: ...

    @property
    def cluster_id(self) -> int: ...


def living_namesakes(
    connection: Connection, texts: Sequence[_Named]
) -> list[list[deployments_pb2.Deployment]]:
    """Return for each what lives in its cluster under its name and is the caller's, newest first.

    One listing tells it for all.
    """
    clusters = {_cluster(text) for text in texts}
    found: dict[tuple[str, int], list[deployments_pb2.Deployment]] = {
        (text.name, _cluster(text)): [] for text in texts
    }
    request = deployment_service_pb2.ListDeploymentsRequest(
        statuses=LIVING,
        name_contains=texts[0].name if len(texts) == 1 else "",
        cluster_id=min(clusters) if len(clusters) == 1 else 0,
    )
    for deployment in all_deployments(connection, request):
        spec = deployment.spec
        namesakes = found.get((spec.name, spec.cluster_id or DEFAULT_CLUSTER_ID))
        if namesakes is not None:
            namesakes.append(deployment)
    return [found[text.name, _cluster(text)] for text in texts]


def check_names_are_free(
    connection: Connection, texts: Sequence[DeploymentText], file: Path | None
) -> None:
    """Refuse names that living deployments have; a repeat of the request that made one is let by.

    Raises:
        CommandError: names what is there, and what to do instead.
        grpc.RpcError: a deployment of such a name would be refused under any other too.
    """
    taken: dict[str, list[str]] = {}
    for text, namesakes in zip(texts, living_namesakes(connection, texts), strict=True):
        if namesakes and not any(_made_by(text.request_id, each) for each in namesakes):
            asked = create_request(text)
            asked.validate_only = True
            connection.call_in_turn(connection.deployments.CreateDeployment, asked)
            taken[text.name] = [each.id for each in namesakes]
    if taken:
        raise _taken(taken, instead(next(iter(taken)), file))


def check_new_name_is_free(
    connection: Connection, there: deployments_pb2.Deployment, wanted: _Named
) -> None:
    """Refuse to give a deployment a name that another living one has in the cluster it will be in.

    Raises:
        CommandError: names what is there, and what to do instead.
    """
    if (wanted.name, _cluster(wanted)) == (there.spec.name, _cluster(there.spec)):
        return
    (namesakes,) = living_namesakes(connection, [wanted])
    if ids := [each.id for each in namesakes if each.id != there.id]:
        raise _taken(
            {wanted.name: ids}, "choose another name, or give --another to let several have it"
        )


def _taken(names: Mapping[str, Sequence[str]], hint: str) -> CommandError:
    """Return the refusal of names that deployments of these ids have."""
    named = ", ".join(f"{name} ({', '.join(ids)})" for name, ids in names.items())
    verb = "is" if len(names) == 1 else "are"
    return CommandError(f"{named} {verb} deployed already", hint=hint)


def instead(name: str, file: Path | None) -> str:
    """Return what to do about a name that is taken."""
    change = f"fog update {name}" if file is None else f"fog update -f {file}"
    return f"change what is there with `{change}`, or give --another to deploy one more of the name"


def check_names_differ(texts: Sequence[DeploymentText], file: Path) -> None:
    """Refuse a file with a name twice in a cluster: the second would have its name taken.

    Raises:
        UsageFailure: names it.
    """
    seen: set[tuple[str, int]] = set()
    for text in texts:
        if (key := (text.name, _cluster(text))) in seen:
            raise UsageFailure(
                f"{file}: two documents have the name {text.name!r}",
                hint="give them names of their own; with --another they may share one",
            )
        seen.add(key)


def differences(
    deployed: deployments_pb2.DeploymentSpec, asked_for: deployments_pb2.DeploymentSpec
) -> list[dict[str, Any]]:
    """Return the fields in which two specs differ, defaults filled in; none for the same."""
    return changed_fields(spec_from_pb(deployed), spec_from_pb(asked_for))


def changed_fields(deployed: DeploymentSpec, asked_for: DeploymentSpec) -> list[dict[str, Any]]:
    """Return the fields in which two specs differ, as files name and print them."""
    left, right = dict(_leaves(deployed)), dict(_leaves(asked_for))
    return [
        {"field": name, "deployed": left.get(name), "asked_for": right.get(name)}
        for name in dict.fromkeys((*left, *right))
        if left.get(name) != right.get(name)
    ]


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the parts of a spec, as files name and print them."""
    for each in fields(value):
        part, path = getattr(value, each.name), f"{prefix}{each.name}"
        if is_dataclass(part):
            yield from _leaves(part, f"{path}.")
        elif each.name in AMOUNTS:
            amount = AMOUNTS[each.name]
            yield f"{prefix}{amount.name}", amount.shown(part)
        else:
            yield path, _plain(part)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name.lower().replace("_", "-")
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _cluster(named: _Named) -> int:
    return named.cluster_id or DEFAULT_CLUSTER_ID


def _made_by(request_id: str, deployment: deployments_pb2.Deployment) -> bool:
    """Tell whether a request of this id, of the deployment's owner, made it."""
    made = command_event_id(deployment.owner_id, _CREATE, request_id)
    return bool(request_id) and deployment.id == made
