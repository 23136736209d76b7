"""The scheduler's figures for Prometheus, in the shape of kube-scheduler's."""

from __future__ import annotations

from collections import Counter as Tally

from prometheus_client import Counter, Gauge, Histogram

from fogbank.domain import events as ev

_ATTEMPTS = Counter(
    "fog_scheduler_schedule_attempts", "Looks at deployments that came to something.", ["result"]
)
_PENDING = Gauge("fog_scheduler_pending_deployments", "Deployments that wait.", ["queue"])
_SECONDS = Histogram(
    "fog_scheduler_scheduling_duration_seconds",
    "Time to decide a round.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
)
_ROUNDS = Counter("fog_scheduler_rounds", "Rounds of this scheduler.", ["verdict"])

_RESULTS = {
    ev.DeploymentPlaced: "scheduled",
    ev.DeploymentDeferred: "unschedulable",
    ev.DeploymentFailed: "failed",
}


class PrometheusMeter:
    """Counts rounds and their outcomes."""

    def decided(self, outcomes: tuple[ev.Outcome, ...], took_s: float) -> None:
        _SECONDS.observe(took_s)
        for kind, count in Tally(map(type, outcomes)).items():
            result = _RESULTS.get(kind)
            if result is not None:
                _ATTEMPTS.labels(result).inc(count)

    def verdict(self, *, accepted: bool) -> None:
        _ROUNDS.labels("accepted" if accepted else "void").inc()

    def queues(self, pending: dict[str, int]) -> None:
        for queue, count in pending.items():
            _PENDING.labels(queue).set(count)
