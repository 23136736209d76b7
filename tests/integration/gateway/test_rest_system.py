"""Probes, figures and the fleet over REST."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.exposition import choose_encoder

from services.gateway.http_api import costly_answers, fleet
from tests.support.rest_face import RestFace, deploy_body, rest_face

NODE_FIELDS = {"capacity", "allocatable", "allocated", "measured", "status", "region", "labels"}


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as face:
        yield face


@pytest.mark.parametrize("path", ["/health", "/healthz"])
async def test_health_in_good_and_bad_days(face: RestFace, path: str) -> None:
    async with face.client(None) as client:
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})
        face.scheduler.up = False
        answer = await client.get(path)
        assert answer.status_code == 503
        assert answer.json()["status"] == "unhealthy"
        checks = answer.json()["checks"]
        assert set(checks) == {"log", "scheduler", "ledger"}
        assert (checks["log"], checks["ledger"]) == ("ok", "ok")
        assert checks["scheduler"] != "ok"


@pytest.mark.parametrize("path", ["/readiness", "/readyz"])
async def test_readiness_asks_only_for_what_this_process_needs(path: str) -> None:
    database_up = True

    async def database_answers() -> bool:
        return database_up

    async with rest_face(database_answers=database_answers) as face, face.client(None) as client:
        face.scheduler.up = face.ledger.up = False
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})
        database_up = False
        answer = await client.get(path)
        assert answer.status_code == 503
        assert answer.json()["checks"] == {"log": "ok", "database": "out of reach"}


async def test_liveness_judges_the_process_alone(face: RestFace) -> None:
    face.store.available = face.scheduler.up = face.ledger.up = False
    async with face.client(None) as client:
        answer = await client.get("/livez")
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})
        assert (await client.get("/health")).json()["checks"]["log"] != "ok"


async def test_scheduler_status_as_documented(face: RestFace) -> None:
    async with face.client(None) as client:
        answer = await client.get("/status")
        assert answer.json() == {
            "status": "running",
            "scheduled_pods": 12,
            "failed_schedules": 3,
            "training_episodes": 0,
            "epsilon": 0.0,
            "model_version": "balanced@1",
        }
        face.scheduler.up = False
        answer = await client.get("/status")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"


async def test_system_status_says_what_it_knows(face: RestFace) -> None:
    async with face.client(None) as client:
        body = (await client.get("/api/v1/system/status")).json()
        assert body["status"] == "running"
        assert body["queue"] == {
            "depth": {"low": 0, "medium": 0, "high": 0},
            "total": 0,
            "oldest_waiting_seconds": 0.0,
        }
        assert body["scheduler"]["instance"] == "scheduler-1"
        assert body["scheduler"]["leader"] is None
        face.scheduler.answer = replace(face.scheduler.answer, leader="scheduler-2")
        body = (await client.get("/api/v1/system/status")).json()
        assert body["scheduler"]["leader"] == "scheduler-2"
        assert body["ledger"]["lag_commits"] == 0
        assert (body["agents_connected"], body["policy"]) == (2, "balanced@1")
        assert "fogbank" in body["versions"]
        face.scheduler.up = face.ledger.up = False
        body = (await client.get("/api/v1/system/status")).json()
        assert (body["status"], body["scheduler"], body["ledger"]) == ("degraded", None, None)


async def test_system_status_counts_who_waits_and_says_for_how_long(face: RestFace) -> None:
    async with face.client() as client:
        for priority in ("HIGH", "LOW"):
            body = deploy_body(name=f"web-{priority}", priority=priority)
            assert (await client.post("/api/deployment/deploy", json=body)).status_code == 202
        queue = (await client.get("/api/v1/system/status")).json()["queue"]
    assert queue["depth"] == {"low": 1, "medium": 0, "high": 1}
    assert queue["total"] == 2
    assert queue["oldest_waiting_seconds"] > 0


class NotWalked(dict[str, Any]):
    """Holds something of every deployment that ever was: too many to look through for a caller."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("all deployments are walked")

    keys = values = items = __iter__  # type: ignore[assignment]  # nobody gets that far


async def test_what_anybody_may_ask_costs_the_same_for_any_number_of_deployments(
    face: RestFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with face.client() as client:
        for name, priority in (("a", "low"), ("b", "high"), ("c", "high")):
            body = deploy_body(name=name, priority=priority)
            assert (await client.post("/api/deployment/deploy", json=body)).status_code == 202
        tracker, facts = face.fold.tracker, face.fold.fleet.facts
        monkeypatch.setattr(tracker, "current", NotWalked(tracker.current))
        monkeypatch.setattr(facts, "deployments", NotWalked(facts.deployments))
        open_to_all = ("/health", "/readiness", "/livez", "/status", "/api/v1/system/status")
        answers = [await client.get(path) for path in open_to_all]
    assert [answer.status_code for answer in answers] == [200] * len(open_to_all)
    assert answers[-1].json()["queue"]["depth"] == {"low": 1, "medium": 0, "high": 2}


async def test_metrics_for_prometheus(face: RestFace) -> None:
    async with face.client(None) as client:
        await client.get("/livez")
        await client.get("/nothing/at/all")
        text = await client.get("/metrics")
        assert text.headers["content-type"].startswith("text/plain")
        assert 'fog_http_handled_total{method="GET",route="/livez",status="200"}' in text.text
        assert "/nothing/at/all" not in text.text
        openmetrics = await client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text"}
        )
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
        assert openmetrics.text.endswith("# EOF\n")


async def test_metrics_and_the_document_are_encoded_once_for_all_who_ask_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: list[str] = []

    def counting(accepted: str) -> Any:
        encoded.append(accepted)
        return choose_encoder(accepted)

    monkeypatch.setattr(costly_answers, "choose_encoder", counting)
    # "At once" lasts longer here than a slow machine may take to ask ten times.
    monkeypatch.setattr(costly_answers, "_METRICS_GOOD_FOR_S", 3_600.0)
    odd = {"Accept": "application/openmetrics-text; version=odd"}
    async with rest_face() as face, face.client(None) as client:
        for _ in range(5):
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get("/metrics", headers=odd)).status_code == 200
        first, second = [await client.get("/openapi.json") for _ in range(2)]
    assert encoded == ["", "application/openmetrics-text"]
    assert first.content == second.content
    assert first.json()["openapi"].startswith("3.1")


async def test_metrics_may_be_shown_elsewhere_alone() -> None:
    async with rest_face(shows_metrics=False) as face, face.client(None) as client:
        answer = await client.get("/metrics")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Metrics are not shown here"})


@pytest.mark.parametrize("path", ["/cluster/state", "/api/orchestration/services"])
async def test_the_fleet_and_its_sums(face: RestFace, path: str) -> None:
    await face.add_nodes("edge-1", "edge-2", cpu=4000, gpu=1, labels={"zone": "a"})
    await face.add_nodes("edge-3", cpu=2000, region="us-west")
    async with face.client() as client:
        body = (await client.get(path)).json()
    assert (body["nodes_total"], body["nodes_by_status"]) == (3, {"idle": 3})
    assert body["capacity"]["cpu_cores"] == 10.0
    assert body["allocatable"]["gpu_units"] == 2
    assert body["allocated"]["cpu_cores"] == 0
    node = body["nodes"][0]
    assert set(node) >= NODE_FIELDS
    assert (node["name"], node["labels"], node["gpu_model"]) == ("edge-1", {"zone": "a"}, "T4")
    assert node["runtime"] == "simulated"


async def test_the_sums_of_the_fleet_without_its_nodes(face: RestFace) -> None:
    await face.add_nodes("edge-1", "edge-2", cpu=4000)
    async with face.client() as client:
        body = (await client.get("/cluster/state?nodes=false")).json()
        assert (body["nodes_total"], body["capacity"]["cpu_cores"]) == (2, 8.0)
        assert body["nodes"] == []
        wrong = await client.get("/cluster/state?nodes=perhaps")
    assert wrong.status_code == 400
    assert "nodes" in wrong.json()["detail"]


async def test_the_present_fleet_is_encoded_once_for_all_who_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of a large one takes the event loop long."""
    # A second is less than a slow machine may take to ask so often.
    monkeypatch.setattr(fleet, "_PRESENT_FOR_S", 3_600.0)
    asked: list[object] = []
    async with rest_face() as face, face.client("ann") as ann, face.client("bob") as bob:
        await face.add_nodes("edge-1", "edge-2")
        nodes = face.ledger.nodes

        async def counted(*arguments: Any) -> Any:
            asked.append(arguments)
            return await nodes(*arguments)

        monkeypatch.setattr(face.ledger, "nodes", counted)
        paths = ["/cluster/state", "/api/orchestration/services"] * 5
        found = await asyncio.gather(*(each.get(path) for path in paths for each in (ann, bob)))
        assert len({answer.content for answer in found}) == 1
        assert found[0].json()["nodes_total"] == 2
        assert len(asked) == 1
        assert (await ann.get("/cluster/state?nodes=false")).json()["nodes"] == []
        assert len(asked) == 2


async def test_nodes_by_page_and_name(face: RestFace) -> None:
    await face.add_nodes("edge-1", "edge-2", "edge-3")
    async with face.client() as client:
        page = await client.get("/cluster/nodes?limit=2&offset=1")
        assert [node["name"] for node in page.json()] == ["edge-2", "edge-3"]
        assert page.headers["x-total-count"] == "3"
        by_name = await client.get("/cluster/nodes/edge-2")
        by_id = await client.get(f"/cluster/nodes/{by_name.json()['id']}")
        assert by_name.json() == by_id.json()
        for name in ("nobody", "x" * 1000, "%00"):
            answer = await client.get(f"/cluster/nodes/{name}")
            assert (answer.status_code, answer.json()) == (404, {"detail": "Node not found"})
        answer = await client.get("/cluster/nodes?limit=1001")
        assert answer.status_code == 400


async def test_the_openapi_document(face: RestFace) -> None:
    async with face.client(None) as client:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
        assert page.status_code == 200
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert assets
        for asset in assets:
            assert asset.startswith("/docs/assets/"), "a page that works without the internet"
            assert (await client.get(asset)).status_code == 200
    assert document["openapi"].startswith("3.1")
    answers = [
        (path, method, status)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        for status in operation["responses"]
    ]
    assert not [answer for answer in answers if answer[2] == "422"]
    numbers = [
        parameter
        for item in document["paths"].values()
        for operation in item.values()
        for parameter in operation.get("parameters", ())
        if parameter["schema"].get("type") == "integer"
    ]
    assert len(numbers) > 10
    assert not [each for each in numbers if not {"minimum", "maximum"} <= each["schema"].keys()]
    assert "/model/save" not in document["paths"]
    assert "/api/deployment/plan" in document["paths"]
    open_paths = {
        path
        for path, item in document["paths"].items()
        for operation in item.values()
        if "security" not in operation
    }
    assert open_paths == {
        *(
            f"/api/{family}/{verb}"
            for family in ("users", "auth")
            for verb in ("login", "register")
        ),
        *(f"/api/{family}/refresh" for family in ("users", "auth")),
        *("/health", "/healthz", "/readiness", "/readyz", "/livez"),
        *("/status", "/metrics", "/api/v1/system/status"),
    }
