"""Decides a long, seeded story of a fleet and prints the digest of every round."""

from __future__ import annotations

from random import Random

from fogbank.domain import events as ev
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

REGIONS = ("us-east", "us-central", "us-west", "eu-north")


def tell(seed: int, nodes: int = 40, steps: int = 60) -> list[str]:
    """Return the digests of the rounds' commits, in order."""
    chance = Random(seed)
    fleet = LittleFleet()
    for number in range(nodes):
        size = chance.choice((2000, 4000, 16000))
        host = a_fingerprint(cpu=size, memory=size * 2, region=chance.choice(REGIONS))
        fleet.connect(f"fog-{number}", host)
    for step in range(steps):
        for _ in range(chance.randrange(4)):
            _one_deployment(fleet, chance, step)
        _one_change(fleet, chance)
        fleet.log.pass_ms(chance.randrange(20_000))
        fleet.settle()
        if chance.random() < 0.5:
            fleet.obey()
    return [commit.digest.hex() for commit in fleet.log.commits if commit.service == "scheduler"]


def _one_deployment(fleet: LittleFleet, chance: Random, step: int) -> None:
    fleet.deploy(
        a_spec(
            f"d{step}",
            chance.randrange(1, 7),
            cpu=chance.randrange(100, 3000, 7),
            memory=chance.randrange(128, 4000, 11),
            storage=1,
            priority=chance.randrange(101),
            region=chance.choice(REGIONS),
            wait_for_capacity=chance.random() < 0.5,
            labels={"app": "a", "team": "b"},
        )
    )


def _one_change(fleet: LittleFleet, chance: Random) -> None:
    state = fleet.planner.fleet
    node_id = chance.choice(list(state.facts.nodes))
    online = state.offline_since_us(state.facts.nodes[node_id]) is None
    match chance.randrange(4):
        case 0 if online:
            load = ev.NodeLoadChanged(
                node_id,
                fleet.log.epochs[node_id],
                chance.randrange(101),
                chance.randrange(101),
                fleet.log.sequence,
            )
            fleet.fact(load)
        case 1 if online:
            fleet.decide(fleet.silence(node_id))
        case 2:
            node = state.facts.nodes[node_id]
            fleet.connect(node.name, node.fingerprint)
        case _ if state.facts.deployments:
            deployment_id = chance.choice(list(state.facts.deployments))
            fleet.fact(ev.DeploymentDeleted(deployment_id))


if __name__ == "__main__":
    print("\n".join(tell(7)))  # noqa: T201  its whole purpose
