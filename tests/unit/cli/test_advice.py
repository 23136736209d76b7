"""What `--wait` advises where a placement failed."""

import pytest

from fogbank.cli.waiting import _advice
from fogbank.v1.deployments_pb2 import Deployment


@pytest.mark.parametrize(
    ("reason", "helps"),
    [
        ("Insufficient nodes: need 5, found 2 with capacity", "ask for less, add nodes"),
        (
            "Quota of cluster main is full: needs 8 replicas, 2 are free",
            "ask for less, free some of the quota",
        ),
        (
            "Impossible: above the quota of cluster main: needs 8 replicas, 4 replicas at most",
            "ask for less, or have the quota raised (an owner of its organization or an adm",
        ),
        (
            "Impossible: above the quota of organization 2: needs 8 replicas, 4 replicas at most",
            "ask for less, or have the quota raised (an administrator can)",
        ),
    ],
)
def test_advice_fits_what_was_short(reason: str, helps: str) -> None:
    advice = _advice(Deployment(id="d-1", reason=reason))
    assert advice.startswith(helps)
    assert "fog explain d-1" in advice
    assert ("add nodes" in advice) == ("nodes" in reason)
