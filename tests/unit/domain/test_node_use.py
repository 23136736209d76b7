"""What the replicas on a node take, summed as they come and go."""

from random import Random

from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.node_use import NodeUse
from fogbank.domain.resources import Resources


def a_replica(number: int, sequence: int, chance: Random) -> PlacedReplica:
    resources = Resources(*(chance.randrange(1, 9) for _ in range(4)))
    return PlacedReplica(f"r{number}", "d", number, 1, "n", resources, 1, (), sequence, 0)


def summed(replicas: list[PlacedReplica]) -> list[int]:
    amounts = [
        (r.cpu_millicores, r.memory_mib, r.storage_gib, r.gpu_thousandths)
        for r in (placed.resources for placed in replicas)
    ]
    return [sum(each) for each in zip(*amounts, strict=True)] or [0, 0, 0, 0]


def test_sums_are_those_of_what_is_there_whatever_came_and_went() -> None:
    chance, use = Random(1), NodeUse()
    there: dict[str, PlacedReplica] = {}
    for step in range(2_000):
        placed = chance.choice([*there.values()]) if there else None
        match chance.randrange(5):
            case 0 | 1:
                placed = there[f"r{step}"] = a_replica(step, chance.randrange(100), chance)
                use.put(placed)
            case 2 if placed is not None:
                placed.desired = chance.choice([*Desired])
                use.put(placed)
            case 3 if placed is not None:
                assert use.remove(there.pop(placed.id).id)
                assert not use.remove(placed.id)
            case _:
                # Of a node that connects anew the load may reflect less than before.
                use.load_reflects(chance.randrange(100))
        booked = [each for each in there.values() if each.desired is not Desired.RELEASED]
        assert use.live == sum(each.desired is Desired.LIVE for each in there.values())
        assert use.stopping == len(there) - len(booked)
        assert use.held == summed([*there.values()])
        assert use.booked == summed(booked)
        assert use.seen == summed([r for r in booked if r.placed_sequence <= use.reflects])
