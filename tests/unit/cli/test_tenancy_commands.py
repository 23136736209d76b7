"""`fog org` and `fog cluster`: what they ask for and what they print."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from fogbank.cli.main import run
from fogbank.v1 import facts_pb2, identity_service_pb2_grpc, resources_pb2
from fogbank.v1 import identity_service_pb2 as pb
from fogbank.v1.moments_pb2 import Moment

OURS = pb.Organization(
    id=2, name="ours", role=facts_pb2.MEMBERSHIP_ROLE_OWNER, invite_code="XNwDkZzK6MctFq"
)
TWINS = [pb.Organization(id=3, name="twin"), pb.Organization(id=4, name="twin")]
EDGE = pb.Cluster(
    id=2,
    name="edge",
    organization_id=2,
    total=resources_pb2.Quota(cpu_millicores=8500, memory_mib=4096, gpu_thousandths=0),
)
BOB = pb.Member(user_id="b", username="bob", role=facts_pb2.MEMBERSHIP_ROLE_VIEWER)


class Identity(identity_service_pb2_grpc.IdentityServiceServicer):
    """Answers every call in the same way and remembers the requests."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        answers = {
            "CreateOrganization": pb.CreateOrganizationResponse(organization=OURS),
            "JoinOrganization": pb.JoinOrganizationResponse(organization=OURS),
            "ListOrganizations": pb.ListOrganizationsResponse(organizations=[OURS, *TWINS]),
            "ListMyOrganizations": pb.ListMyOrganizationsResponse(organizations=[OURS]),
            "ListMembers": pb.ListMembersResponse(members=[BOB]),
            "SetMemberRole": pb.SetMemberRoleResponse(member=BOB),
            "RemoveMember": pb.RemoveMemberResponse(),
            "GetInviteCode": pb.GetInviteCodeResponse(
                invite=pb.InviteCode(code="code", role=facts_pb2.MEMBERSHIP_ROLE_OPERATOR)
            ),
            "RenewInviteCode": pb.RenewInviteCodeResponse(invite=pb.InviteCode(code="new")),
            "RevokeInviteCode": pb.RevokeInviteCodeResponse(),
            "SetOrganizationQuota": pb.SetOrganizationQuotaResponse(organization=OURS),
            "CreateCluster": pb.CreateClusterResponse(cluster=EDGE),
            "SetClusterQuota": pb.SetClusterQuotaResponse(cluster=EDGE),
            "ListClusters": pb.ListClustersResponse(clusters=[EDGE]),
            "GetClusterStatus": pb.GetClusterStatusResponse(
                cluster=EDGE,
                used=resources_pb2.Resources(cpu_millicores=3400, memory_mib=1024, storage_gib=20),
                used_replicas=2,
                available=resources_pb2.Quota(cpu_millicores=5100, memory_mib=3072),
                deployments={"running": 1, "pending": 2},
                as_of_sequence=9,
            ),
        }
        for method, answer in answers.items():
            setattr(self, method, self._answering(answer))

    def _answering(self, answer: Any) -> Any:
        def answered(request: Any, context: grpc.ServicerContext) -> Any:
            self.requests.append(request)
            return answer

        return answered


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Identity]:
    identity = Identity()  # type: ignore[abstract]  # its methods are set when it is made
    running = grpc.server(ThreadPoolExecutor(2))
    identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(identity, running)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield identity
    running.stop(None).wait()


def test_organizations_are_made_joined_and_listed(
    server: Identity, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["org", "create", "ours"]) == 0
    assert "organization 2 (ours) made; others join with: fog org join XNwDkZzK6MctFq" in (
        capsys.readouterr().out
    )
    assert server.requests[-1].name == "ours"
    assert server.requests[-1].request_id
    assert run(["org", "join", "XNwDkZzK6MctFq", "--request-id", "r"]) == 0
    assert server.requests[-1] == pb.JoinOrganizationRequest(
        request_id="r", invite_code="XNwDkZzK6MctFq"
    )
    assert run(["org", "list", "-o", "json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("[") :])[0] == {
        "id": 2,
        "name": "ours",
        "role": "owner",
        "invite_code": "XNwDkZzK6MctFq",
    }
    assert run(["org", "mine"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "2",
        "ours",
        "owner",
        "XNwDkZzK6MctFq",
    ]


def test_an_organization_goes_by_number_or_name(
    server: Identity, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ("2", "ours"):
        assert run(["org", "members", given, "-o", "yaml"]) == 0
        assert server.requests[-1] == pb.ListMembersRequest(organization_id=2)
    printed = yaml.safe_load_all(capsys.readouterr().out)
    assert next(printed)[0] == {"user_id": "b", "username": "bob", "role": "viewer"}
    assert run(["org", "members", "nobodys"]) == 1
    assert "no organization is named 'nobodys'" in capsys.readouterr().err
    assert run(["org", "members", "twin"]) == 1
    assert "2 organizations are named 'twin': 3, 4" in capsys.readouterr().err


def test_members_get_roles_and_go(server: Identity, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["org", "role", "2", "bob", "Viewer", "--request-id", "r"]) == 0
    assert server.requests[-1] == pb.SetMemberRoleRequest(
        request_id="r", organization_id=2, user="bob", role=facts_pb2.MEMBERSHIP_ROLE_VIEWER
    )
    assert capsys.readouterr().out == "bob is viewer now\n"
    asked = len(server.requests)
    assert run(["org", "remove", "2"]) == 64, "nobody confirms it"
    assert "give --yes (-y)" in capsys.readouterr().err
    assert len(server.requests) == asked
    assert run(["org", "remove", "2", "-y"]) == 0
    assert server.requests[-1].user == ""
    assert capsys.readouterr().out.splitlines() == ["you left"]
    assert run(["org", "role", "2", "bob", "boss"]) == 64
    assert "owner, operator, viewer, got 'boss'" in capsys.readouterr().err


def test_codes_are_shown_renewed_and_revoked(
    server: Identity, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["org", "invite", "2", "-o", "name"]) == 0
    assert capsys.readouterr().out == "code\n"
    renew = ["org", "invite", "2", "--renew", "--expires", "24h", "--uses", "3", "--role", "viewer"]
    assert run([*renew, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["invite_code"] == "new"
    asked = server.requests[-1]
    assert (asked.expires_in.seconds, asked.max_uses) == (86400, 3)
    assert asked.role == facts_pb2.MEMBERSHIP_ROLE_VIEWER
    assert run(["org", "invite", "2", "--revoke"]) == 0
    assert [type(each).__name__ for each in server.requests[-2:]] == [
        "RevokeInviteCodeRequest",
        "GetInviteCodeRequest",
    ]
    assert run(["org", "invite", "2", "--renew", "--revoke"]) == 64
    assert run(["org", "invite", "2", "--uses", "3"]) == 64


def test_quotas_in_the_units_of_the_command_line(server: Identity) -> None:
    flags = ["--cpu", "8.5", "--memory", "4096", "--gpu", "0.5", "--replicas", "0"]
    wanted = resources_pb2.Quota(
        cpu_millicores=8500, memory_mib=4096, gpu_thousandths=500, replicas=0
    )
    assert run(["cluster", "create", "edge", "--org", "ours", *flags]) == 0
    assert server.requests[-1].total == wanted
    assert server.requests[-1].organization_id == 2
    assert run(["cluster", "quota", "edge", *flags]) == 0
    assert (server.requests[-1].cluster_id, server.requests[-1].total) == (2, wanted)
    assert run(["cluster", "quota", "2", "--unlimited"]) == 0
    assert server.requests[-1].total == resources_pb2.Quota()
    assert run(["org", "quota", "2", *flags]) == 0
    assert server.requests[-1].quota == wanted
    assert run(["org", "quota", "2", "--unlimited"]) == 0
    assert server.requests[-1].quota == resources_pb2.Quota()
    assert run(["cluster", "quota", "2", "--cpu", "-1"]) == 64
    assert run(["cluster", "quota", "2", "--cpu", "1", "--unlimited"]) == 64


def test_a_quota_is_shown_without_flags_and_stays_as_it_is(
    server: Identity, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cluster", "quota", "edge", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["total"]["cpu_cores"] == 8.5
    assert run(["org", "quota", "ours"]) == 0
    assert "ours" in capsys.readouterr().out
    assert not [each for each in server.requests if type(each).__name__.startswith("Set")]


def test_clusters_are_listed_with_their_quotas(
    server: Identity, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cluster", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "2",
        "edge",
        "2",
        "8.5",
        "4096",
        "-",
        "0",
        "-",
    ]
    assert run(["cluster", "list", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["total"] == {
        "cpu_cores": 8.5,
        "memory_mb": 4096,
        "storage_gb": None,
        "gpu_units": 0,
        "replicas": None,
    }


def test_the_status_of_a_cluster_is_drawn(
    server: Identity, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cluster", "status", "edge"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "edge: cluster 2 of organization 2"
    assert lines[1] == "Deployments: 2 pending, 1 running"
    assert lines[4].split() == ["cpu", "3.4", "8.5", "5.1", "█" * 8 + "░" * 12, "40", "%"]
    assert lines[6].split()[:5] == ["storage", "GiB", "20", "unlimited", "unlimited"]
    assert run(["cluster", "status", "2", "-o", "json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["used"]["replicas"] == 2
    assert row["deployments"] == {"pending": 2, "running": 1}


def test_the_status_of_a_cluster_at_a_past_moment(
    server: Identity, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cluster", "status", "2", "--at", "9"]) == 0
    assert server.requests == [pb.GetClusterStatusRequest(cluster_id=2, as_of=Moment(sequence=9))]
    assert capsys.readouterr().out.splitlines()[:2] == [
        "as of log sequence 9",
        "edge: cluster 2 of organization 2",
    ]
    assert run(["cluster", "status", "2", "--at", "yesterday"]) == 64
    assert "--at 'yesterday' is no moment" in capsys.readouterr().err
    assert len(server.requests) == 1
