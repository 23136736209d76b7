"""The gateway's doors."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fogbank.runtime.certificates import Authority
from fogbank.runtime.settings import Secret
from services.gateway.adapters import doors
from services.gateway.adapters.doors import Doors
from services.gateway.settings import GatewaySettings


async def test_a_certificate_that_does_not_fit_its_key_does_not_end_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.of_folder(tmp_path / "ca", "default")
    key, certificate = tmp_path / "key", tmp_path / "crt"
    first, second = (authority.issue("gateway", [], 3600, time.time()) for _ in range(2))
    key.write_text(first[0])
    certificate.write_text(first[1])
    opened = Doors(
        GatewaySettings(
            jwt_secret=Secret("0" * 32),
            agent_token=Secret("agents"),
            sealing_key=Secret("sealing"),
            tls_cert=certificate,
            tls_key=key,
        )
    )
    certificate.write_text(second[1])
    os.utime(certificate, ns=(0, 0))  # another time, however coarse the system's clock is
    monkeypatch.setattr(doors, "_LOOK_AGAIN_S", 0)
    with capture_logs() as logs:
        keeping = asyncio.create_task(opened.keep_fresh())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not keeping.done()
        keeping.cancel()
    assert any(line["log_level"] == "error" for line in logs)
