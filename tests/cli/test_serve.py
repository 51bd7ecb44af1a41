"""``processor serve``, and the HTTP API of ``processor dev``."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import httpx
import pytest

from .conftest import Invoke, Processor

ORDER = {"arguments": [{"id": "A-1", "amount": 10, "follow_up_s": 0.01}]}
RUNS = "/api/v1/namespaces/default/workflows/order_processing/runs"


def test_it_serves_until_it_is_told_to_stop(processor: Processor) -> None:
    code = ("--server=embedded:./state", "--module=examples.orders")
    served = processor("serve", *code, "--port=0", "--json")
    assert served.stdout is not None
    said = json.loads(next(line for line in served.stdout if '"url"' in line))
    assert said["namespace"] == "default"
    headers = {"prefer": "wait=30"}
    found = httpx.post(said["url"] + RUNS, json=ORDER, headers=headers, timeout=60)
    assert found.status_code == 200
    assert found.json()["result"] == "Order processing completed successfully!"
    served.send_signal(signal.SIGTERM)
    assert served.wait(30) == 0


def test_dev_says_where_its_api_is(processor: Processor) -> None:
    page = "http://localhost:5173"
    dev = processor("dev", "--state=state", "--port=0", f"--allow-origin={page}")
    assert dev.stderr is not None
    lines = (
        re.search(r"the HTTP API is at (http://127\.0\.0\.1:\d+)", each) for each in dev.stderr
    )
    found = next(line for line in lines if line)
    assert httpx.get(found[1] + "/health/ready", timeout=60).json() == {"status": "ready"}
    asked = httpx.get(f"{found[1]}/api/v1/namespaces/default", headers={"origin": page}, timeout=60)
    assert asked.headers["access-control-allow-origin"] == page
    dev.send_signal(signal.SIGINT)
    dev.communicate(timeout=60)
    assert dev.returncode == 0


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("--host=0.0.0.0",), "is reached from other machines"),
        (("--public-url=x",), "give a URL"),
        (("--allow-origin=x",), "an origin is"),
        (("--port=70000",), "65535"),
    ],
)
def test_what_it_cannot_serve_is_wrong_usage(
    invoke: Invoke, given: tuple[str, ...], text: str
) -> None:
    done = invoke("serve", *given)
    assert done.exit_code == 2
    assert text in " ".join(re.sub(r"[│╭╮╰╯─]", "", done.output).split())


def test_a_file_that_lets_nobody_in_is_wrong_usage(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "auth.toml").write_text("")
    done = invoke("serve", "--server=embedded:./s", "-m", "examples.orders", "--auth=auth.toml")
    assert done.exit_code == 2
    assert "lets nobody in" in done.output
