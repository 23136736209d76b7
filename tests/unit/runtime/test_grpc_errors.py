"""Each kind of error goes out as a status and comes back as itself."""

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from fogbank.domain.errors import (
    FieldViolation,
    FogError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from fogbank.log.port import LogUnavailableError
from fogbank.runtime.error_table import TABLE, outside
from fogbank.runtime.grpc_errors import DETAILS_KEY, from_rpc_error, internal_status, to_status


def over_the_wire(error: FogError) -> AioRpcError:
    status = to_status(error)
    return AioRpcError(
        outside(error).grpc_code,
        Metadata(),
        Metadata((DETAILS_KEY, status.SerializeToString())),
        details=status.message,
    )


@pytest.mark.parametrize("kind", list(TABLE))
def test_an_error_survives_the_way(kind: type[FogError]) -> None:
    sent = kind(
        "in words",
        reason="SPECIAL",
        violations=(FieldViolation("spec.name", "is empty"),),
        retry_after_ms=1_500,
        sought="node/fog-9",
    )
    got = from_rpc_error(over_the_wire(sent))
    assert type(got) is kind
    assert got.message == sent.message
    assert got.reason == sent.reason
    assert got.violations == sent.violations
    assert got.retry_after_ms == sent.retry_after_ms
    assert got.sought == sent.sought


def test_what_is_not_there_is_named_beside_the_text_and_cut_where_headers_would_burst() -> None:
    sent = NotFoundError.of("node", "x" * 100_000)
    assert (sent.message, sent.reason) == ("Node not found", "NODE_NOT_FOUND")
    assert sent.sought == "node/" + "x" * 100
    assert NotFoundError.of("node", "").sought == "", "whose name isn't known"


def test_a_subclass_has_the_codes_of_its_kind() -> None:
    assert outside(LogUnavailableError("down")) == TABLE[UnavailableError]


def test_the_details_are_googles() -> None:
    status = to_status(InvalidArgumentError.of_field("spec.image", "is empty"))
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("INVALID_ARGUMENT", "fogbank")
    assert status.details[1].Unpack(bad_request)
    assert bad_request.field_violations[0].field == "spec.image"


def test_the_unforeseen_tells_nothing() -> None:
    assert internal_status().message == "Internal server error"


def test_an_error_of_the_transport_has_a_kind_too() -> None:
    got = from_rpc_error(AioRpcError(StatusCode.UNAVAILABLE, Metadata(), Metadata(), "no route"))
    assert isinstance(got, UnavailableError)
    assert got.retry_after_ms


def test_a_code_of_no_kind_is_internal() -> None:
    got = from_rpc_error(AioRpcError(StatusCode.DATA_LOSS, Metadata(), Metadata(), "lost"))
    assert type(got) is FogError
    assert got.reason == "DATA_LOSS"


def test_every_domain_error_is_in_the_table() -> None:
    def all_below(kind: type[FogError]) -> set[type[FogError]]:
        return {kind} | {deep for sub in kind.__subclasses__() for deep in all_below(sub)}

    own = {kind for kind in all_below(FogError) if kind.__module__ == "fogbank.domain.errors"}
    assert own == set(TABLE)
