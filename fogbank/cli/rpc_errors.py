"""Errors of calls, for people: the server's words, the wrong fields, what to do next."""

import re

import grpc

from fogbank.cli.amounts import AMOUNTS
from fogbank.cli.failures import CommandError

_LATER = "try again in a while"
_MEND = "`fog audit restore` compares the log with its copy, and mends them from one another"
_SOON = "try again in a moment"

_OUT_OF_BOUNDS = re.compile(
    rf"spec\.resources\.({'|'.join(AMOUNTS)}): must be between (\S+) and (\S+), got ([-+.e\d]+)"
)


def _away(part: str) -> str:
    return f"{_SOON}; `fog logs {part}` may say why"


# What to do next, by the reason that the server gives; whoever gives none has the code's name.
# A reason that isn't here says enough, or nothing is known that would help.
_HINTS = {
    "UNAUTHENTICATED": "sign in with `fog login`, or give a token in FOG_TOKEN",
    "ADMIN_ONLY": "sign in as an administrator with `fog login`",
    "DEPLOYMENT_NOT_FOUND": "`fog ps` lists what there is",
    "NODE_NOT_CONNECTED": "`fog nodes` shows whether it is online",
    "NODE_NOT_FOUND": "`fog nodes` lists what there is",
    "REPLICA_NOT_FOUND": "`fog status DEPLOYMENT -o json` has the ids of its replicas, "
    "of which the first 8 digits do",
    "CLUSTER_NOT_FOUND": "`fog cluster list` lists what there is; a deployment goes into cluster 1 "
    "unless --cluster says another",
    "ORGANIZATION_NOT_FOUND": "`fog org list` lists what there is",
    "MEMBER_NOT_FOUND": "`fog org members` lists who there is",
    "NO_EARLIER_REVISION": "`fog rollout history` shows them; `fog rollout undo --to` names one",
    "ONLY_REVISION": "`fog update` makes another one of it",
    "STALE_ETAG": "somebody else changed it; look at it with `fog status` and try again",
    "RATE_LIMITED": _LATER,
    "QUEUE_FULL": _LATER,
    "TOO_MANY_SIGN_INS": _LATER,
    "TOO_MANY_PAST_QUESTIONS": _LATER,
    "TOO_MANY_PLANS": _LATER,
    "LOG_BACKLOG_FULL": _LATER,
    "DEADLINE_EXCEEDED": "it may have been done all the same; `fog ps` shows it",
    "NODE_SILENT": _SOON,
    "ERRAND_CUT_OFF": f"{_SOON}; a command may have run to its end all the same",
    "DATABASE_UNAVAILABLE": _away("postgres"),
    "DENIALS_OUTDATED": _away("postgres"),
    "LOG_UNAVAILABLE": _away("nats"),
    "LEDGER_UNAVAILABLE": _away("ledger"),
    "LEDGER_DATABASE_UNAVAILABLE": _away("ledger"),
    "LEDGER_COPY_DAMAGED": _MEND,
    "LEDGER_REFUSES_LOG": _MEND,
    "REPLAY_FAILED": _MEND,
    "SCHEDULER_UNAVAILABLE": _away("scheduler"),
    "UNIMPLEMENTED": "the server doesn't have this yet",
}

# What users give by a flag of another name than the request's field, or as the thing itself.
_GIVEN_AS = {
    "as_of": "--at",
    "after_sequence": "--after",
    "from_sequence": "--from",
    "to_sequence": "--to",
    "subjects": "--subject",
    "aggregate": "the thing",
    "touching": "the thing",
    "to_revision": "--to",
}

_SPEC_FIELD = re.compile(r"(^|; | {5})spec\.([\w.\[\]]+)(?=: )", re.MULTILINE)
# Flags that say what a file has under another name.
_FLAGS = {
    "container_image": "--image",
    "cluster_id": "--cluster",
    "container.ports": "--port",
    "container.volumes": "--volume",
    "container.probe": "--probe",
    "container.stop_grace_ms": "--stop-grace",
    "constraints": "--constraint",
    "labels": "--label",
    "rollout.max_surge": "--max-surge",
    "rollout.max_unavailable": "--max-unavailable",
    "rollout.min_healthy_ms": "--min-healthy",
    "rollout.progress_deadline_ms": "--progress-deadline",
    "disconnect.lost_after_ms": "--lost-after",
    "disconnect.stop_on_client_after_ms": "--stop-on-client-after",
}


def explain(error: grpc.RpcError) -> CommandError:
    """Return what to tell the user about a failed call."""
    from fogbank.runtime.grpc_errors import from_rpc_error

    told = from_rpc_error(error)  # type: ignore[arg-type]  # it is a Call too
    message = told.message
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        # A server that answers gives a reason of its own.
        answered = told.reason != grpc.StatusCode.UNAVAILABLE.name
        hint = _HINTS.get(told.reason, _away("gateway"))
        return CommandError(message, hint=hint) if answered else _unreached(message)
    violations = [
        f"{violation.field}: {violation.description}"
        for violation in told.violations
        if violation.description not in message
    ]
    if violations:
        message = "\n".join([message, *(f"     {line}" for line in violations)])
    if told.sought:
        message = f"{told.sought.partition('/')[2]}: {message}"
    return worded(message, told.reason)


def worded(message: str, reason: str) -> CommandError:
    """Return a refusal by the names that people give things by, with what to do next."""
    field, colon, rest = message.partition(": ")
    message = f"{_GIVEN_AS.get(field, field)}{colon}{rest}"
    message = _SPEC_FIELD.sub(_as_in_a_file, _OUT_OF_BOUNDS.sub(_as_given, message))
    return CommandError(message, hint=_HINTS.get(reason, ""))


def _as_given(refused: re.Match[str]) -> str:
    """Return the refusal of an amount by the name and in the unit in which it was given."""
    amount = AMOUNTS[refused[1]]
    low, high, got = (f"{amount.shown(float(number)):.15g}" for number in refused.groups()[1:])
    return f"{amount.name}: must be between {low} and {high} {amount.unit}, got {got}"


def _as_in_a_file(refused: re.Match[str]) -> str:
    """Return a field by its name in a file, and its flag if that has another."""
    before, field = refused.groups()
    parts = re.sub(r"\[\d+\]", "", field).split(".")
    above = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    flag = next((_FLAGS[each] for each in above if each in _FLAGS), "")
    return f"{before}{field} ({flag})" if flag else f"{before}{field}"


def _unreached(message: str) -> CommandError:
    from fogbank.cli.connection import described_target, is_secure, remembered_in
    from fogbank.runtime.tls_errors import tls_advice

    if advice := tls_advice(message):
        return CommandError(f"no safe connection to {described_target()}", hint=advice)
    if "socket closed" in message.lower() and not is_secure():
        return CommandError(
            f"{described_target()} hangs up: it may speak TLS only",
            hint="name its ca.crt in FOG_CA, or give it to `fog login --ca`",
        )
    if "connect" in message.lower() or "resolv" in message.lower():
        hint = "start the system with `fog up`, or say where it is in FOG_ADDR"
        if remembered_in():
            hint = (
                f"`fog login` remembers it: start that system, say where another one is in "
                f"FOG_ADDR, or forget it: rm {remembered_in()}"
            )
        return CommandError(f"no answer from {described_target()}", hint=hint)
    return CommandError(message, hint=_away("gateway"))
