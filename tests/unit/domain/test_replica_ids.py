"""Ids made in bulk are those made one by one."""

from __future__ import annotations

from uuid import UUID, uuid5

from fogbank.domain.ids import replica_id, replica_ids


def test_replica_ids_are_version_5_uuids_of_slot_and_generation() -> None:
    for number in range(200):
        deployment_id = str(uuid5(UUID(int=number), "deployment"))
        name = replica_ids(deployment_id)
        for slot, generation in ((0, 1), (number, 7), (999, 1 << 20)):
            wanted = str(uuid5(UUID(deployment_id), f"{slot}/{generation}"))
            assert name(slot, generation) == wanted == replica_id(deployment_id, slot, generation)
