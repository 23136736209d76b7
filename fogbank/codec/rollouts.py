"""Rollouts to the public API's messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fogbank.codec.values import spec_to_pb
from fogbank.codec.views import timestamp_to_pb
from fogbank.domain.rollouts import RolloutView
from fogbank.v1 import deployment_service_pb2 as pb


def rollout_to_pb(
    view: RolloutView, env_names: Mapping[int, Sequence[str]]
) -> pb.GetRolloutResponse:
    """Return the message of how far a rollout is; revisions newest first.

    `env_names` are those of the variables of revisions' environments, by number.
    """
    return pb.GetRolloutResponse(
        deployment_id=view.deployment_id,
        phase=pb.RolloutPhase.ValueType(view.phase),
        revision=view.revision,
        wanted_revision=view.wanted_revision,
        replicas=view.replicas,
        updated=view.updated,
        available=view.available,
        leaving=view.leaving,
        message=view.message,
        revisions=[
            pb.Revision(
                number=revision.number,
                spec=spec_to_pb(revision.spec),
                created_at=timestamp_to_pb(revision.at_us),
                has_env=bool(revision.env_key),
                wanted=revision.number == view.wanted_revision,
                failed=revision.number in view.failed_revisions,
                env_names=env_names.get(revision.number, ()),
            )
            for revision in reversed(view.revisions)
        ],
        as_of_sequence=view.as_of_sequence,
        waits_for=view.waits_for,
        gives_up_at=timestamp_to_pb(view.gives_up_us),
        goes_back_to=view.goes_back_to,
    )
