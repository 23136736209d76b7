"""Finds organizations and clusters on the server, by number or name."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from fogbank.cli.connection import Connection, connect
from fogbank.cli.failures import CommandError
from fogbank.v1 import identity_service_pb2

_PAGE = 1_000


class _Named(Protocol):
    @property
    def id(self) -> int: ...

    @property
    def name(self) -> str: ...


def all_organizations(connection: Connection) -> Iterator[identity_service_pb2.Organization]:
    """Yield every organization, by number, page after page."""
    request = identity_service_pb2.ListOrganizationsRequest(page_size=_PAGE)
    while True:
        page = connection.call(connection.identity.ListOrganizations, request)
        yield from page.organizations
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def all_clusters(connection: Connection) -> Iterator[identity_service_pb2.Cluster]:
    """Yield every cluster that the caller may see, by number, page after page."""
    request = identity_service_pb2.ListClustersRequest(page_size=_PAGE)
    while True:
        page = connection.call(connection.identity.ListClusters, request)
        yield from page.clusters
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def organization_number(connection: Connection, number_or_name: str) -> int:
    """Return the number of the one organization that has this number or name.

    Raises:
        CommandError: none has the name, or several have.
    """
    if number_or_name.isdecimal():
        return int(number_or_name)
    return _only(all_organizations(connection), "organization", number_or_name, "fog org list")


def cluster_number(connection: Connection, number_or_name: str) -> int:
    """Return the number of the one cluster that has this number or name.

    Raises:
        CommandError: none has the name, or several have.
    """
    if number_or_name.isdecimal():
        return int(number_or_name)
    return _only(all_clusters(connection), "cluster", number_or_name, "fog cluster list")


def flagged_cluster(number_or_name: str) -> int:
    """Return the number of the cluster that a flag gives; only for a name is the server asked.

    Raises: as `cluster_number`.
    """
    if number_or_name.isdecimal():
        return int(number_or_name)
    with connect() as connection:
        return cluster_number(connection, number_or_name)


def _only(things: Iterable[_Named], kind: str, name: str, listing: str) -> int:
    found = [each.id for each in things if each.name == name]
    if not found:
        raise CommandError(f"no {kind} is named {name!r}", hint=f"`{listing}` lists what there is")
    if len(found) > 1:
        numbers = ", ".join(str(number) for number in found)
        raise CommandError(
            f"{len(found)} {kind}s are named {name!r}: {numbers}",
            hint="say which one by its number",
        )
    return found[0]
