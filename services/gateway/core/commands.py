"""Commands as events: their ids, their digests, their envelopes, and what a verdict means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from fogbank.domain import events as ev
from fogbank.domain.containers import ContainerSpec, HealthProbe, Port, Volume
from fogbank.domain.deployment import Constraint, DeploymentSpec, DisconnectRules, RolloutSpec
from fogbank.domain.envelope import CommandTerms, EventEnvelope
from fogbank.domain.errors import (
    AbortedError,
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
)
from fogbank.domain.ids import command_event_id, digest
from fogbank.domain.resources import Resources
from fogbank.domain.verdict import Verdict, VoidReason
from services.gateway.core.join_refusals import join_refusal

CREATE = "CreateDeployment"
SCALE = "ScaleDeployment"
DELETE = "DeleteDeployment"
UPDATE = "UpdateDeployment"
ROLLBACK = "RollbackDeployment"


# The kind of thing that isn't there, or no longer, where a command is void.
_MISSING = {
    VoidReason.UNKNOWN_DEPLOYMENT: "deployment",
    VoidReason.UNKNOWN_NODE: "node",
    VoidReason.NODE_REMOVED: "node",
    VoidReason.UNKNOWN_ORGANIZATION: "organization",
    VoidReason.UNKNOWN_CLUSTER: "cluster",
}

# What a spec is made of, digested field by field.
_PARTS = (
    *(DeploymentSpec, Resources, Constraint, RolloutSpec, DisconnectRules),
    *(ContainerSpec, HealthProbe, Port, Volume),
)


def content_digest(method: str, content: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of a command's content, in an encoding that has one form for each.

    Fields at their default are left out, so that a release that adds one digests a repeat of an
    older request alike.
    """
    encoded = json.dumps(
        [method, _canonical(content)], sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return digest(encoded.encode())


def _canonical(value: Any) -> Any:
    if isinstance(value, _PARTS):
        return {
            each.name: _canonical(getattr(value, each.name))
            for each in fields(value)
            if not _is_default(each, getattr(value, each.name))
        }
    if isinstance(value, Mapping):
        return {key: _canonical(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_canonical(each) for each in value]
    return value


def _is_default(each: Any, value: object) -> bool:
    if each.default is not MISSING:
        return bool(value == each.default)
    return each.default_factory is not MISSING and bool(value == each.default_factory())


def create_envelope(
    owner_id: str, request_id: str, spec: DeploymentSpec, env_key: str, now_us: int
) -> EventEnvelope:
    """Return the event of a create; its id will be the deployment's."""
    event_id = command_event_id(owner_id, CREATE, request_id)
    return EventEnvelope(
        event_id,
        ev.DeploymentCreated(spec, owner_id, env_key),
        aggregate=f"deployment/{event_id}",
        actor=f"user/{owner_id}",
        occurred_at_us=now_us,
        correlation_id=event_id,
        command=CommandTerms(content_digest(CREATE, {"spec": spec, "env_key": env_key})),
    )


def scale_envelope(
    user_id: str,
    request_id: str,
    deployment_id: str,
    replicas: int,
    *,
    expected_version: int,
    now_us: int,
) -> EventEnvelope:
    """Return the event of a scale."""
    content = {"deployment_id": deployment_id, "replicas": replicas, "version": expected_version}
    return EventEnvelope(
        event_id := command_event_id(user_id, SCALE, request_id),
        ev.DeploymentScaled(deployment_id, replicas),
        aggregate=f"deployment/{deployment_id}",
        actor=f"user/{user_id}",
        occurred_at_us=now_us,
        correlation_id=event_id,
        command=CommandTerms(content_digest(SCALE, content), expected_version),
    )


def update_envelope(
    user_id: str,
    method: str,
    request_id: str,
    event: ev.DeploymentUpdated,
    content: Mapping[str, Any],
    *,
    expected_version: int,
    now_us: int,
) -> EventEnvelope:
    """Return the event of an update; `content` is what was asked, not what it comes to."""
    return EventEnvelope(
        event_id := command_event_id(user_id, method, request_id),
        event,
        aggregate=f"deployment/{event.deployment_id}",
        actor=f"user/{user_id}",
        occurred_at_us=now_us,
        correlation_id=event_id,
        command=CommandTerms(content_digest(method, content), expected_version),
    )


def delete_envelope(
    user_id: str, request_id: str, deployment_id: str, *, expected_version: int, now_us: int
) -> EventEnvelope:
    """Return the event of a delete."""
    content = {"deployment_id": deployment_id, "version": expected_version}
    return EventEnvelope(
        event_id := command_event_id(user_id, DELETE, request_id),
        ev.DeploymentDeleted(deployment_id),
        aggregate=f"deployment/{deployment_id}",
        actor=f"user/{user_id}",
        occurred_at_us=now_us,
        correlation_id=event_id,
        command=CommandTerms(content_digest(DELETE, content), expected_version),
    )


def settle(envelope: EventEnvelope, first: Verdict) -> int:
    """Return the position at which a command counts, given the verdict on the first of its id.

    A repeat of the same content gets the first one's answer, whatever that was.

    Raises:
        AlreadyExistsError: the first of this id had another content.
        AbortedError: the deployment had another version than expected.
        NotFoundError: there is no such thing, or (deleting) it was deleted before.
        FailedPreconditionError: the deployment was deleted, or the organization's last owner goes.
    """
    terms = envelope.command
    if terms is not None and first.content_digest != terms.content_digest:
        raise AlreadyExistsError(
            "request_id was used before with another content; use a new one",
            reason="REQUEST_ID_REUSED",
        )
    if first.reason is None:
        return first.position
    if isinstance(envelope.event, ev.NodeJoined):
        raise join_refusal(first.reason, envelope.event.node_id)
    if first.reason is VoidReason.STALE_VERSION:
        raise stale()
    if first.reason is VoidReason.DELETED:
        raise deleted(envelope.event)
    if kind := _MISSING.get(first.reason):
        raise NotFoundError.of(kind, getattr(envelope.event, f"{kind}_id", ""))
    if first.reason is VoidReason.NODE_CONNECTED:
        raise AbortedError(
            "The node connected for the first time just now; remove it again",
            reason="NODE_CONNECTED",
        )
    if first.reason is VoidReason.LAST_OWNER:
        raise FailedPreconditionError(
            "An organization keeps an owner: make another member one first", reason="LAST_OWNER"
        )
    raise FailedPreconditionError(f"The log refused it: {first.reason}", reason="VOID")


def not_found(deployment_id: str) -> NotFoundError:
    """Return the error for a deployment that isn't there, or isn't the caller's."""
    return NotFoundError.of("deployment", deployment_id)


def organization_not_found(organization_id: int) -> NotFoundError:
    """Return the error for an organization that isn't there, or isn't the caller's."""
    return NotFoundError.of("organization", organization_id)


def cluster_not_found(cluster_id: int) -> NotFoundError:
    """Return the error for a cluster that isn't there, or is another organization's."""
    return NotFoundError.of("cluster", cluster_id)


def stale() -> AbortedError:
    """Return the error for an etag that is not the current one."""
    return AbortedError("The deployment was changed since; read it again and use its etag")


def deleted(event: ev.Event | None) -> NotFoundError | FailedPreconditionError:
    """Return the error for a command that comes after the deletion."""
    if isinstance(event, ev.DeploymentDeleted):
        return not_found(event.deployment_id)
    return FailedPreconditionError("The deployment is deleted", reason="DEPLOYMENT_DELETED")
