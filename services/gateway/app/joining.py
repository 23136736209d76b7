"""Join tokens, and the identities that nodes get for them."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from uuid import uuid4

import structlog

from fogbank.domain import events as ev
from fogbank.domain.errors import (
    FailedPreconditionError,
    FogError,
    InvalidArgumentError,
    PermissionDeniedError,
    UnavailableError,
)
from fogbank.domain.ids import command_event_id
from fogbank.domain.join_rules import JoinTokenFact, why_not_join
from fogbank.domain.join_tokens import JoinToken
from fogbank.domain.verdict import VoidReason
from fogbank.runtime.clock import Clock
from services.gateway.app.command_log import CommandLog
from services.gateway.app.fold import FleetFold
from services.gateway.app.ports import NodeAuthority, TokenSecrets
from services.gateway.app.principal import Principal
from services.gateway.core import joining as core
from services.gateway.core.agent_messages import NodeCertificate
from services.gateway.core.asks import check_request_id
from services.gateway.core.hello import Hello, check_node_id, is_copy
from services.gateway.core.join_refusals import join_refusal, removed
from services.gateway.core.service_accounts import Scope

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """What of a caller's certificate counts: its node, its key's SHA-256, and its end."""

    node_id: str
    key_digest: bytes
    ends_at_us: int


class Joining:
    """Makes tokens for administrators, and signs certificates for agents that bring one.

    Without an authority nobody joins here. `agent_port` is where agents connect that did.
    """

    def __init__(
        self,
        fold: FleetFold,
        command_log: CommandLog,
        clock: Clock,
        secrets: TokenSecrets,
        authority: NodeAuthority | None,
    ) -> None:
        self._fold = fold
        self._commands = command_log
        self._clock = clock
        self._secrets = secrets
        self._authority = authority
        self.agent_port = 0

    # --- tokens ---------------------------------------------------------------------------------

    async def create(
        self,
        principal: Principal,
        uses: int = 0,
        lifetime_ms: int | None = None,
        request_id: str = "",
    ) -> tuple[JoinToken, JoinTokenFact]:
        """Make a token, administrators only; a repeat of the request gets the same one.

        Raises:
            FailedPreconditionError: this gateway has no authority, or the token that the request
                made was revoked since.
        """
        principal.require_admin(Scope.NODES)
        authority = self._require_authority()
        check_request_id(request_id)
        request_id = request_id or str(uuid4())
        content = {"uses": core.check_uses(uses), "lifetime_ms": core.check_lifetime(lifetime_ms)}
        token_id = command_event_id(principal.user_id, core.CREATE_TOKEN, request_id)
        token = JoinToken(token_id, self._secrets.secret(token_id), authority.fingerprint)
        now_us = self._clock.now_us()
        event = ev.JoinTokenCreated(
            token.secret_digest, content["uses"], now_us + content["lifetime_ms"] * 1_000
        )
        await self._commands.submit(
            principal,
            core.token_envelope(
                principal.user_id,
                core.CREATE_TOKEN,
                request_id,
                event,
                content=content,
                now_us=now_us,
            ),
        )
        known = self._fold.fleet.facts.join_tokens[token_id]
        if known.revoked:
            raise core.revoked_since(token_id)
        return token, known

    def list(self, principal: Principal) -> list[tuple[JoinTokenFact, tuple[str, ...]]]:
        """Return all tokens, the last made first; administrators only.

        With each come the nodes that joined by it and have not connected yet.
        """
        principal.require_admin(Scope.NODES)
        facts = self._fold.fleet.facts
        waiting = core.never_connected(facts)
        return [
            (token, waiting.get(token.id, ())) for token in reversed(facts.join_tokens.values())
        ]

    async def revoke(
        self, principal: Principal, token_id: str, request_id: str = ""
    ) -> JoinTokenFact:
        """Let nobody join by a token any more; administrators only.

        Raises:
            NotFoundError: there is no such token.
        """
        principal.require_admin(Scope.NODES)
        check_request_id(request_id)
        known = core.find_token(self._fold.fleet.facts, token_id)
        await self._commands.submit(
            principal,
            core.token_envelope(
                principal.user_id,
                core.REVOKE_TOKEN,
                request_id or str(uuid4()),
                ev.JoinTokenRevoked(known.id),
                content={"token_id": known.id},
                now_us=self._clock.now_us(),
            ),
        )
        return known

    # --- nodes ----------------------------------------------------------------------------------

    async def join(self, token_text: str, node_id: str, request_der: bytes) -> NodeCertificate:
        """Trade a token for a certificate of the node, once the log has it.

        Raises:
            UnauthenticatedError: the token doesn't count, or no longer.
            FailedPreconditionError: the node was removed, or has another key.
            InvalidArgumentError: the request or the node's id makes no sense.
        """
        authority = self._require_authority()
        try:
            token = JoinToken.parse(token_text)
        except ValueError as error:
            raise InvalidArgumentError.of_field("token", str(error)) from error
        check_node_id(node_id, "node_id")
        key_digest = authority.key_digest(request_der)
        await self._check_token(token, node_id, key_digest)
        event = ev.NodeJoined(token.id, node_id, key_digest)
        envelope = core.join_envelope(event, self._clock.now_us())
        await self._commands.submit(None, envelope)
        certificate = authority.sign(node_id, request_der)
        _log.info("node joined", node=node_id, token=token.id)
        return certificate

    async def _check_token(self, token: JoinToken, node_id: str, key_digest: bytes) -> None:
        """Raise before anything is logged: what comes without a good token leaves no trace."""
        facts = self._fold.fleet.facts
        if token.id not in facts.join_tokens:
            await self._commands.catch_up()  # made a moment ago, at another gateway
        known = facts.join_tokens.get(token.id)
        if known is None or not hmac.compare_digest(known.secret_digest, token.secret_digest):
            raise join_refusal(VoidReason.JOIN_UNKNOWN, node_id)
        why = why_not_join(facts, token.id, node_id, key_digest)
        if why is not None:
            raise join_refusal(why, node_id)

    def renew(self, node_id: str, request_der: bytes) -> NodeCertificate:
        """Return a new certificate for the key that a node joined with.

        Raises:
            PermissionDeniedError: the request is signed with another key.
        """
        authority = self._require_authority()
        key_digest = authority.key_digest(request_der)
        core.check_certificate(self._fold.fleet.facts, node_id, node_id, key_digest)
        _log.info("certificate renewed", node=node_id)
        return authority.sign(node_id, request_der)

    async def check(self, hello: Hello, shown: ShownCertificate | None) -> None:
        """Raise unless whoever says hello is the node that it says.

        Raises:
            FogError: as `speaks_for`; a copy of the node is logged.
        """
        known = hello.node_id in self._fold.fleet.facts.identities
        if shown is not None and shown.node_id == hello.node_id and not known:
            await self._commands.catch_up()  # joined a moment ago, at another gateway
        self.speaks_for(hello.node_id, shown)
        await self._tell_of_copy(hello)

    def speaks_for(self, node_id: str, shown: ShownCertificate | None) -> None:
        """Raise unless a caller that showed this certificate, or none, may speak for a node.

        Raises:
            PermissionDeniedError: the certificate is missing, another node's, or not known.
            UnauthenticatedError: it has ended; TLS looks when a connection begins, not later.
            FailedPreconditionError: the node was removed.
        """
        facts = self._fold.fleet.facts
        node = facts.nodes.get(node_id)
        if shown is not None:
            if shown.ends_at_us <= self._clock.now_us():
                raise core.certificate_ended(node_id)
            core.check_certificate(facts, shown.node_id, node_id, shown.key_digest)
        elif node_id in facts.identities:
            raise PermissionDeniedError(
                f"node {node_id} joined, so it must show its certificate: have its agent "
                "call FOG_AGENT_LISTEN's port",
                reason="CERTIFICATE_REQUIRED",
            )
        if node is not None and node.removed:
            raise removed(node.id, node.name)

    async def _tell_of_copy(self, hello: Hello) -> None:
        """Log that a copy called; it is refused where all hellos are checked."""
        node = self._fold.fleet.facts.nodes.get(hello.node_id)
        if node is None or node.removed or not is_copy(node, hello):
            return
        event = ev.CopiedIdentityRefused(node.id, hello.last_epoch, node.confirmed_epoch)
        try:
            await self._commands.submit(None, core.copy_envelope(event, self._clock.now_us()))
        except UnavailableError as error:
            _log.warning("a copied identity is not logged", node=node.id, error=error.message)
        except FogError as error:
            _log.debug("a copied identity was logged before", node=node.id, error=error.message)

    def _require_authority(self) -> NodeAuthority:
        if self._authority is None:
            raise FailedPreconditionError(
                "nobody joins by token here: the gateway has no authority; start it with "
                "FOG_CA_DIR (a folder, filled at the first start), or `fog up` with --tls",
                reason="NO_AUTHORITY",
            )
        return self._authority
