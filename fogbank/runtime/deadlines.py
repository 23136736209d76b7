"""How long calls of one request and one answer may take.

Streams, be they of requests, last as long as both sides want.
"""

from __future__ import annotations

from google.protobuf.message import Message

DEADLINE_S = 60.0
# So long a question about the past waits for others' at a gateway, and then for its answer, for
# which a state is folded again; and the way there and back.
PAST_TURN_S = 30.0
PAST_ANSWER_S = 120.0
PAST_DEADLINE_S = PAST_TURN_S + PAST_ANSWER_S + 5.0


def deadline_s(request: object) -> float:
    """Return how long a call may take, in seconds: longer if it is about the past.

    Requests for that have a field `as_of`, or say when in one of `at`.
    """
    if isinstance(request, Message):
        fields, choices = request.DESCRIPTOR.fields_by_name, request.DESCRIPTOR.oneofs_by_name
        if "as_of" in fields and request.HasField("as_of"):
            return PAST_DEADLINE_S
        if "at" in choices and request.WhichOneof("at") is not None:
            return PAST_DEADLINE_S
    return DEADLINE_S
