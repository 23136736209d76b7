"""Ids and digests of commands, and what verdicts come to."""

import pytest

from fogbank.domain.deployment import Constraint
from fogbank.domain.errors import (
    AbortedError,
    AlreadyExistsError,
    FailedPreconditionError,
    FogError,
    NotFoundError,
)
from fogbank.domain.states import ConstraintOperator
from fogbank.domain.verdict import Verdict, VoidReason
from services.gateway.core import commands
from tests.support.fleet_log import OWNER, a_spec, an_id

DEPLOYMENT = an_id("deployment")


def test_the_same_request_is_the_same_event() -> None:
    first = commands.create_envelope(OWNER, "r-1", a_spec(), "", 1)
    again = commands.create_envelope(OWNER, "r-1", a_spec(), "", 2)

    assert first.event_id == again.event_id
    assert first.command == again.command
    assert first.aggregate == f"deployment/{first.event_id}"


def test_owner_method_and_request_id_all_count() -> None:
    ids = {
        commands.create_envelope(OWNER, "r-1", a_spec(), "", 1).event_id,
        commands.create_envelope(OWNER, "r-2", a_spec(), "", 1).event_id,
        commands.create_envelope(an_id("other"), "r-1", a_spec(), "", 1).event_id,
        commands.delete_envelope(OWNER, "r-1", DEPLOYMENT, expected_version=0, now_us=1).event_id,
    }

    assert len(ids) == 4


@pytest.mark.parametrize(
    "other",
    [
        a_spec(replicas=2),
        a_spec(cpu=1001),
        a_spec(labels={"a": "b"}),
        a_spec(constraints=(Constraint("region", ConstraintOperator.EXISTS),)),
    ],
)
def test_another_content_has_another_digest(other: object) -> None:
    digests = {commands.content_digest("Create", {"spec": spec}) for spec in (a_spec(), other)}

    assert len(digests) == 2


def test_the_environment_is_part_of_the_content() -> None:
    digests = {
        commands.content_digest("Create", {"spec": a_spec(), "env_key": key}) for key in ("", "k")
    }

    assert len(digests) == 2


def test_a_digest_does_not_depend_on_the_order_of_labels() -> None:
    one = a_spec(labels={"a": "1", "b": "2"})
    two = a_spec(labels={"b": "2", "a": "1"})

    assert commands.content_digest("C", {"s": one}) == commands.content_digest("C", {"s": two})


def test_a_digest_stays_what_it_is() -> None:
    """Repeats of a request may reach a later release than the first one did."""
    digest = commands.content_digest("CreateDeployment", {"spec": a_spec(), "env_key": ""})

    assert digest.hex() == GOLDEN_DIGEST


GOLDEN_DIGEST = "7af0ed27d838b05d7b58cfe381fb926117d43582df324dada68b68babf3c3816"


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (VoidReason.STALE_VERSION, AbortedError),
        (VoidReason.UNKNOWN_DEPLOYMENT, NotFoundError),
        (VoidReason.DELETED, FailedPreconditionError),
        (VoidReason.MALFORMED, FailedPreconditionError),
    ],
)
def test_verdicts_become_errors(reason: VoidReason, error: type[FogError]) -> None:
    envelope = commands.scale_envelope(OWNER, "r", DEPLOYMENT, 2, expected_version=0, now_us=1)
    assert envelope.command is not None
    digest = envelope.command.content_digest

    assert commands.settle(envelope, Verdict(7, None, digest)) == 7
    with pytest.raises(error):
        commands.settle(envelope, Verdict(7, reason, digest))
    with pytest.raises(AlreadyExistsError):
        commands.settle(envelope, Verdict(7, None, b"other"))


def test_deleting_what_was_deleted_finds_nothing() -> None:
    envelope = commands.delete_envelope(OWNER, "r", DEPLOYMENT, expected_version=0, now_us=1)
    assert envelope.command is not None

    with pytest.raises(NotFoundError):
        commands.settle(envelope, Verdict(7, VoidReason.DELETED, envelope.command.content_digest))
