"""Regions that are asked for and that no node is in: likely misspelt, and no reason to refuse."""

import sys
from collections.abc import Iterable

import grpc

from fogbank.cli.connection import Connection
from fogbank.cli.lookups import all_nodes


def warn_of_regions(connection: Connection, asked_for: Iterable[str]) -> None:
    """Say on standard error which regions no node is in, and which there are.

    Of empty names, where nodes can't be listed, and of a fleet without nodes nothing is said.
    """
    missing = {region for region in asked_for if region}
    there: set[str] = set()
    if not missing:
        return
    try:
        for node in all_nodes(connection):
            there.add(node.fingerprint.region)
            missing.discard(node.fingerprint.region)
            if not missing:
                return
    except grpc.RpcError:
        return  # a warning is not worth an error
    if known := sorted(there - {""}):
        named = ", ".join(repr(region) for region in sorted(missing))
        print(
            f"fog: warning: no node is in region {named}; there are nodes in {', '.join(known)}",
            file=sys.stderr,
        )
