"""The exposition, over a real socket."""

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Counter

from fogbank.runtime.metrics import exposition


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [("text/plain", "text/plain", ""), ("application/openmetrics-text", "openmetrics", "# EOF")],
)
def test_both_formats_are_served_on_a_free_port(accept: str, content_type: str, end: str) -> None:
    registry = CollectorRegistry()
    Counter("fog_things", "Things.", registry=registry).inc()
    with exposition("127.0.0.1:0", registry) as port:
        answer = httpx2.get(
            f"http://127.0.0.1:{port}/metrics", headers={"accept": accept}, trust_env=False
        )
    assert "fog_things_total 1.0" in answer.text
    assert content_type in answer.headers["content-type"]
    assert end in answer.text
