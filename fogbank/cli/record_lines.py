"""The record of one thing in words: what happened, who did it, and what it was decided from."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any

from fogbank.cli.output import counted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT_ID = 8
_BEST_SHOWN = 3
_VOID = "void"
# What was turned down has no exit code.
_NEVER_STARTED = "rejected"
# How the names of instants end: microseconds since 1970.
_INSTANT = "_us"

# How ids are shown: of deployments with name and priority, of nodes with their names. Of users it
# gives the name alone, empty for one that isn't known.
Named = Callable[[str, str], str]


def lines(event: dict[str, Any], thing: str, named: Named, changed: str = "") -> Iterator[str]:
    """Yield what an event says about a thing (`deployment/<id>`, never by a name), a phrase each.

    `named` gives a text for a kind (`deployment`, `node`) and an id; `changed` is what a command
    changed, where that is known.
    """
    if event.get("void") and _VOID not in changed:
        yield f"{_VOID}, without effect:"
    kind, payload = event["type"].rpartition(".")[2], event["payload"]
    if kind == "RoundDecided":
        yield from _round(payload, event.get("causes") or [], thing, named)
    elif kind == "NodeReported":
        causes = event.get("causes") or []
        for seen, cause in zip_longest(payload.get("observations", []), causes):
            if seen is not None:
                yield _observation(payload, seen, named)
                yield from _because(cause, named)
    else:
        said = f": {changed}" if changed else _details(payload)
        if changed and kind == "DeploymentCreated":
            said = f"{_details(payload)}; {changed}"
        about = "" if thing == event["aggregate"] else _about(event["aggregate"], named)
        yield f"{_words(kind)}{about} by {_actor(event['actor'], named)}{said}"


def _about(aggregate: str, named: Named) -> str:
    """Return what an event happened to, with a space before it; nothing for what has no name."""
    kind, _, id_ = aggregate.partition("/")
    return f" {named(kind, id_)}" if kind in {"deployment", "node"} and id_ else ""


def _words(kind: str) -> str:
    """Return DeploymentCreated as `deployment created`."""
    return "".join(f" {each.lower()}" if each.isupper() else each for each in kind).strip()


def _details(payload: dict[str, Any]) -> str:
    spec = payload.get("spec")
    if spec is not None:
        return (
            f": {spec.get('name', '')}, {spec.get('replicas', 1)} of "
            f"{spec.get('container_image', '')}, priority {spec.get('priority', 0)}"
        )
    said = [
        _named_value(key, value)
        for key, value in payload.items()
        if not isinstance(value, dict | list) and not key.endswith("_id")
    ]
    return f": {', '.join(said)}" if said else ""


def _named_value(key: str, value: Any) -> str:
    if key.endswith(_INSTANT):
        key, value = key.removesuffix(_INSTANT), _instant(value)
    return f"{key.replace('_', ' ')} {value}"


def _observation(payload: dict[str, Any], seen: dict[str, Any], named: Named) -> str:
    state = str(seen.get("state", "")).removeprefix("REPLICA_STATE_").lower()
    text = f"{named('node', payload.get('node_id', ''))} says: {_replica(seen)} is {state or '?'}"
    if seen.get("final"):
        text += " for good"
        if state != _NEVER_STARTED:
            text += f", exit code {seen.get('exit_code', 0)}"
    return text + (f": {seen['reason']}" if seen.get("reason") else "")


def _replica(holder: dict[str, Any]) -> str:
    return f"replica {str(holder.get('replica_id', ''))[:_SHORT_ID]}"


def _replicas(ids: list[str]) -> str:
    some = ", ".join(each[:_SHORT_ID] for each in ids)
    return f"replica {some}" if len(ids) == 1 else f"replicas {some}"


def _round(
    payload: dict[str, Any], causes: list[dict[str, Any] | None], thing: str, named: Named
) -> Iterator[str]:
    for seen in payload.get("observations", []):
        heard = _instant(seen.get("last_heard_at_us"))
        yield f"silent: {named('node', seen.get('node_id', ''))}, last heard of at {heard}"
    for outcome, cause in zip_longest(payload.get("outcomes", []), causes):
        for kind, decided in (outcome or {}).items():
            yield from _outcome(kind, decided, thing, named)
            yield from _because(cause, named)
    yield (
        f"  decided with policy {payload.get('policy', '?')}, engine {payload.get('engine', '?')}, "
        f"on facts up to {payload.get('facts_to', 0)}"
    )


def _because(cause: dict[str, Any] | None, named: Named) -> Iterator[str]:
    """Say what led to it: the chain goes on in the record, or with `fog audit why`."""
    if cause is not None and "type" in cause:
        yield f"    because of {cause['sequence']}.{cause['index']}: {cause_text(cause, named)}"


def cause_text(cause: dict[str, Any], named: Named) -> str:
    """Return what an event is that led to another, by its type, aggregate and actor."""
    what = _words(str(cause["type"]).rpartition(".")[2])
    return f"{what}{_about(str(cause['aggregate']), named)} by {_actor(str(cause['actor']), named)}"


def _actor(actor: str, named: Named) -> str:
    """Return who did it: a user by id, and by name where that is known."""
    kind, _, id_ = actor.partition("/")
    name = named(kind, id_) if kind == "user" else ""
    return f"{actor} ({name})" if name else actor or "nobody"


def _outcome(kind: str, decided: dict[str, Any], thing: str, named: Named) -> Iterator[str]:
    match kind:
        case "placed":
            yield from _placed(decided, thing, named)
        case "deferred":
            until = decided.get("not_before_us")
            again = f" at {_instant(until)}" if until else " when room appears"
            yield f"waits, to be looked at again{again}: {decided.get('reason', '')}"
        case "failed":
            yield f"failed: {decided.get('reason', '')}"
        case "released":
            which = _replicas(decided.get("replica_ids", []))
            yield f"{which} no longer wanted: {decided.get('reason', '')}"
        case "suspended":
            node = named("node", decided.get("node_id", ""))
            which = _replicas(decided.get("replica_ids", []))
            yield f"{which} on {node} given up for now: the node is silent"
        case "restored":
            yield f"{_replicas(decided.get('replica_ids', []))} wanted again"
        case "rolled_back":
            yield (
                f"rolled back from revision {decided.get('from_revision')} to "
                f"{decided.get('to_revision')}: {decided.get('reason', '')}"
            )
        case "offline":
            node = named("node", decided.get("node_id", ""))
            yield f"{node} is offline, last heard of at {_instant(decided.get('last_heard_at_us'))}"
        case _:
            yield _words(kind).replace("_", " ")
    yield from _considered(decided.get("considered", {}), named)


def _placed(decided: dict[str, Any], thing: str, named: Named) -> Iterator[str]:
    owner = decided.get("deployment_id", "")
    whose = "" if thing == f"deployment/{owner}" else f" of {named('deployment', owner)}"
    for eviction in decided.get("evictions", []):
        evicted = eviction.get("deployment_id", "")
        which = _replicas(eviction.get("replica_ids", []))
        if thing == f"deployment/{evicted}":
            yield f"{which} evicted: preempted by {named('deployment', owner)}"
        else:
            taker = "it" if thing == f"deployment/{owner}" else named("deployment", owner)
            yield f"{which} of {named('deployment', evicted)} evicted for {taker}"
    others = 0
    for placement in decided.get("placements", []):
        if _is_of_another(placement, thing):
            others += 1
            continue
        node = named("node", placement.get("node_id", ""))
        text = f"{_replica(placement)}{whose}, slot {placement.get('slot', 0)}, placed on {node}"
        text += f", score {placement.get('score', 0)}"
        if placement.get("replaces"):
            text += f", in the place of {placement['replaces'][:_SHORT_ID]}"
        if placement.get("starts_after"):
            text += f", starts after {_replicas(placement['starts_after'])} ended"
        yield text
    if others:
        yield f"{counted(others, 'other replica')}{whose} placed in the same breath"


def _is_of_another(placement: dict[str, Any], thing: str) -> bool:
    """Tell whether a placement is of another replica or node than the record that it stands in."""
    kind, _, id_ = thing.partition("/")
    replaces = placement.get("replaces", "")
    if kind == "node":
        # What it replaces was perhaps there.
        return not replaces and placement.get("node_id") != id_
    return kind == "replica" and id_ not in {placement.get("replica_id"), replaces}


def _considered(considered: dict[str, Any], named: Named) -> Iterator[str]:
    if not considered:
        return
    text = f"  looked at {considered.get('nodes', 0)} nodes, {considered.get('feasible', 0)} fit"
    refusals = [
        f"{each.get('nodes', 0)} {each.get('filter', '?')}"
        for each in considered.get("refusals", [])
    ]
    if refusals:
        text += f"; turned down: {', '.join(refusals)}"
    best = [
        f"{named('node', each.get('node_id', ''))} {each.get('score', 0)}"
        for each in considered.get("best", [])[:_BEST_SHOWN]
    ]
    yield text + (f"; best: {', '.join(best)}" if best else "")


def _instant(micros: Any) -> str:
    try:
        instant = _EPOCH + timedelta(microseconds=int(micros or 0))
    except (OverflowError, ValueError):
        return "?"
    return f"{instant.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
