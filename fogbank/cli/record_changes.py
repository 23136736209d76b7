"""What each command on a deployment changed, told from the deployment's own record."""

from dataclasses import replace

from fogbank.cli.already_deployed import changed_fields
from fogbank.cli.output import as_text
from fogbank.codec.registry import EVENT_TYPES
from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.revisions import Revision, next_revisions, same_replicas
from fogbank.v1.log_pb2 import EventEnvelope

_REFUSED = "void, it was meant for the deployment before another change"
_REPEATED = "void, a repeat"
_ANEW = "created anew, what came before was a former life"

_COMMANDS = {
    ev.DeploymentCreated,
    ev.DeploymentScaled,
    ev.DeploymentUpdated,
    ev.DeploymentDeleted,
}


class Changes:
    """Follows a deployment from its creation on; without that in the record nothing is told.

    It goes by the rules of the fold: a command on another version than it expects is void, and so
    is a second event of an id, unless the deployment was forgotten since.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._deleted = False
        self._spec: DeploymentSpec | None = None
        self._version = 0
        self._revisions: tuple[Revision, ...] = ()

    def told(self, envelope: EventEnvelope, position: int, *, void: bool = False) -> str:
        """Return what the event at a position changed; nothing for one that isn't such a command.

        Events come in the order of the log; of those that came to nothing the server may say so.
        """
        kind = EVENT_TYPES.get(envelope.type)
        if kind is None or kind.domain not in _COMMANDS:
            return ""
        repeated = envelope.event_id in self._seen
        self._seen.add(envelope.event_id)
        if kind.domain is ev.DeploymentDeleted:
            self._deleted = self._deleted or not void
            return ""
        anew = repeated and self._deleted and kind.domain is ev.DeploymentCreated and not void
        if repeated and not anew:
            return _REPEATED
        try:
            event = kind.read(envelope.payload)
        except ValueError:  # a newer release's
            self._spec = None
            return ""
        if isinstance(event, ev.DeploymentCreated):
            self._spec, self._version = event.spec, position
            self._revisions = (Revision(1, event.spec, event.env_key, position, 0),)
            self._deleted = False
            return _ANEW if anew else ""
        if self._spec is None:
            return ""
        expected = envelope.command.expected_version
        if expected and expected != self._version:
            return _REFUSED
        if void:
            return ""
        self._version = position
        if isinstance(event, ev.DeploymentScaled):
            was = self._spec.replicas
            self._spec = replace(self._spec, replicas=event.replicas)
            return f"replicas {was} -> {event.replicas}"
        return self._updated(event, self._spec, position)

    def _updated(self, event: ev.DeploymentUpdated, was: DeploymentSpec, position: int) -> str:
        before = self._revisions
        said = [
            f"{each['field']} {as_text(each['deployed'])} -> {as_text(each['asked_for'])}"
            for each in changed_fields(was, event.spec)
        ]
        if event.env_key != before[-1].env_key:
            said.append("another environment" if event.env_key else "no environment any more")
        self._spec = event.spec
        self._revisions = next_revisions(before, event, position, 0)
        new = self._revisions[-1].number
        if new != before[-1].number:
            like = [each for each in before if same_replicas(event.spec, event.env_key, each)]
            back = f", gone back to what revision {like[-1].number} was" if like else ""
            said.append(f"revision {new}{back}")
        return ", ".join(said) or "nothing"
