"""Which sealed environments may still be asked for."""

from __future__ import annotations

from fogbank.domain.facts import Facts

# A deleted deployment's replicas may run on where no order reaches, and an author change her mind.
KEPT_AFTER_DELETION_US = 24 * 3600 * 1_000_000


def needed_env_keys(facts: Facts) -> set[str]:
    """Return the keys of all environments that replicas have, or would have after an undo.

    Those are the ones of a deployment's revisions as far as they are kept, until a day of log time
    after it was deleted.
    """
    return {
        revision.env_key
        for deployment in facts.deployments.values()
        if not deployment.deleted
        or facts.log_time_us - deployment.deleted_at_us < KEPT_AFTER_DELETION_US
        for revision in deployment.revisions
    }
