"""`fog up` on a broker and a database that somebody else runs."""

import pytest

from fogbank.v1 import deployments_pb2
from tests.support.fog_up import FogUp, fog_up, temporary_data_dir
from tests.support.grpc_user import grpc_admin
from tests.support.nats import nats_server
from tests.support.postgres import postgres_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fog-up-small")]


def test_runs_on_the_engines_that_are_given() -> None:
    with nats_server() as broker, postgres_server() as database:
        env = {
            "FOG_NATS_URL": broker.url,
            "FOG_NATS_MONITOR_URL": broker.monitor_url,
            "DATABASE_URL": database.url(),
        }
        with fog_up("--nodes", "2", env=env) as system, grpc_admin(system) as admin:
            assert not {"nats", "postgres"} & set(system.state["pids"])
            made = admin.create("web", replicas=2)
            admin.wait_status(made.id, deployments_pb2.DEPLOYMENT_STATUS_RUNNING)


def test_a_broker_that_may_forget_is_refused_with_the_reason() -> None:
    with nats_server(sync_always=False) as broker, temporary_data_dir() as data_dir:
        system = FogUp(
            data_dir,
            env={"FOG_NATS_URL": broker.url, "FOG_NATS_MONITOR_URL": broker.monitor_url},
        )
        system.launch()
        assert system.process.wait(60) == 1
        assert "sync_interval: always" in system.errors
        system.end()
