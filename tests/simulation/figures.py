"""What happened in a run, counted from its log: a figure that stays at 0 is a blind spot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from fogbank.codec import decode_commit
from fogbank.domain import events as ev
from fogbank.domain.fleet import FleetState
from fogbank.domain.rollouts import RolloutPhase, rollout_view
from fogbank.domain.verdict import VoidReason
from fogbank.log.port import StoredCommit

_OF_OUTCOMES: dict[type, str] = {
    ev.DeploymentDeferred: "deferred",
    ev.DeploymentFailed: "failed",
    ev.ReplicasSuspended: "suspended",
    ev.ReplicasRestored: "restored",
    ev.DeploymentRolledBack: "rolled back",
    ev.NodeOffline: "nodes offline",
}
_OF_FACTS: dict[type, str] = {
    ev.DeploymentUpdated: "updates",
    ev.DeploymentScaled: "scalings",
    ev.NodeDraining: "drains",
    ev.NodeRemoved: "removals",
    ev.PolicyActivated: "policies",
    ev.ClusterQuotaSet: "quotas of clusters",
    ev.OrganizationQuotaSet: "quotas of organizations",
    ev.RebalanceRequested: "rebalances",
}
_OF_VOIDS: dict[VoidReason, str] = {
    VoidReason.STALE_VERSION: "stale versions",
    VoidReason.STALE_ROUND: "rounds too late",
    VoidReason.DUPLICATE: "repeated commands",
    VoidReason.OLD_EPOCH: "old epochs",
    VoidReason.NOT_NEXT_REPORT: "reports out of turn",
}
# Everything that is counted, in the order in which it is shown.
NAMES = (
    *_OF_FACTS.values(),
    *_OF_VOIDS.values(),
    "evictions",
    "starts after others",
    "successors",
    "moved",
    "rolled out",
    *_OF_OUTCOMES.values(),
    "digests",
    "begun with a snapshot",
    "gateway begun with a snapshot",
)


def figures_of(commits: Iterable[StoredCommit], told: Mapping[str, int]) -> Counter[str]:
    """Count what a log says, beside what was counted already."""
    fleet = FleetState()
    counted: Counter[str] = Counter(told)
    for stored in commits:
        writer = stored.writer
        commit = decode_commit(stored.sequence, writer.service, writer.instance, stored.data)
        verdicts = fleet.fold(commit).verdicts
        for envelope, verdict in zip(commit.envelopes, verdicts, strict=True):
            if verdict.reason is not None:
                counted[_OF_VOIDS.get(verdict.reason, "")] += 1
            elif isinstance(envelope.event, ev.RoundDecided):
                _count_round(envelope.event, counted)
            else:
                counted[_OF_FACTS.get(type(envelope.event), "")] += 1
    for deployment in fleet.facts.deployments.values():
        done = rollout_view(fleet, deployment).phase is RolloutPhase.DONE
        counted["rolled out"] += done and deployment.revision > 1 and not deployment.deleted
    return Counter({name: counted[name] for name in NAMES})


def _count_round(event: ev.RoundDecided, counted: Counter[str]) -> None:
    counted["digests"] += bool(event.state_digest)
    for outcome in event.outcomes:
        counted[_OF_OUTCOMES.get(type(outcome), "")] += 1
        if isinstance(outcome, ev.DeploymentPlaced):
            counted["evictions"] += sum(len(each.replica_ids) for each in outcome.evictions)
            for placement in outcome.placements:
                counted["starts after others"] += bool(placement.starts_after)
                counted["successors"] += bool(placement.replaces)
                counted["moved"] += bool(outcome.rebalance)
