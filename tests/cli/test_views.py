"""``processor views`` on a real broker: what the commands show, and what they refuse."""

from __future__ import annotations

import json
import re
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx

from processor.dev.local_broker import free_ports
from tests.cli.conftest import Invoke, Processor
from tests.kafka.feeding import WITHIN_S, FeederProcess
from tests.kafka.harness import until

PARTITIONS = 2


def test_a_view_is_fed_shown_asked_and_dropped(
    invoke: Invoke, processor: Processor, kafka_servers: str, namespace: str, tmp_path: Path
) -> None:
    where = ("--server", kafka_servers, "--namespace", namespace)
    missing = invoke("views", "run", *where, "--views-dir", str(tmp_path / "none"))
    assert missing.exit_code == 3
    assert f"topic {namespace}.events does not exist: run `processor topics apply" in missing.stderr
    invoke("topics", "apply", *where, f"--partitions={PARTITIONS}")
    feeder = FeederProcess(kafka_servers, namespace, tmp_path)
    views = (*where, "--views-dir", str(feeder.views_dir))
    nothing = invoke("views", "status", *views)
    assert nothing.exit_code == 0
    assert "has no view: run `processor views run --views-dir" in nothing.stdout
    refused = invoke("count", *views)
    assert refused.exit_code == 3
    assert "has no rows of any partition: run `processor views run" in refused.stderr
    feeder.start()
    try:
        until(lambda: "up to date with 2 partitions" in feeder.log, "up to date", WITHIN_S)
        shown = json.loads(invoke("views", "status", "--json", *views).stdout)
        assert shown["fed"] is True
        assert [each["partition"] for each in shown["partitions"]] == [0, 1]
        assert all(each["lag"] == each["runs"] == 0 for each in shown["partitions"])
        assert re.search(r"0 records behind the log; it is fed\n$", _shown(invoke, views))
        assert invoke("count", *views).stdout == "0\n"
        served = processor("serve", *views, "--port=0", "--json")
        assert served.stdout is not None
        url = json.loads(next(line for line in served.stdout if '"url"' in line))["url"]
        ready = {"status": "ready", "view_behind": 0}
        found = partial(httpx.get, url + "/health/ready", timeout=60)
        until(lambda: found().json() == ready, "the lag is known", WITHIN_S)
        fed = invoke("views", "rebuild", *views)
        assert fed.exit_code == 3
        assert "is fed: stop `processor views run` there" in fed.stderr
        assert feeder.stop() == 0
    finally:
        feeder.end()
    assert re.search(r"nobody feeds it\n$", _shown(invoke, views))
    dropped = json.loads(invoke("views", "rebuild", "--json", *views).stdout)
    assert dropped["dropped"] >= PARTITIONS
    assert "has no view" in _shown(invoke, views)


def _shown(invoke: Invoke, views: tuple[str, ...]) -> str:
    shown = invoke("views", "status", *views)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def test_what_the_look_up_refuses(invoke: Invoke) -> None:
    (port,) = free_ports(1)
    where = ("--url", f"http://127.0.0.1:{port}")
    refused = invoke("views", "lookup", "order-1", *where)
    assert "does not answer" in refused.stderr
    assert "does `processor views serve` run there? It listens at its --web" in refused.stderr
    wrong = invoke("views", "lookup", "order-1", "--url", "127.0.0.1:6066")
    assert (wrong.exit_code, "give a URL such as" in wrong.stderr) == (2, True)
    open_to_all = invoke("views", "serve", "--web", "10.0.0.1:6066")
    assert (open_to_all.exit_code, "name a file of tokens" in open_to_all.stderr) == (2, True)


def test_the_look_up_shows_what_a_process_tells(invoke: Invoke) -> None:
    told = {
        "workflow_id": "a/b",
        "run_id": "a/b/1",
        "workflow": "order",
        "status": "parked",
        "started": "2026-01-01T00:00:00.000+00:00",
        "closed": None,
        "problem": "parked: bug",
        "lag": 0,
        "answered_by": "http://127.0.0.1:1",
    }

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/instances/a%2Fb"
            body = told if known else {"status": 404, "detail": "no run is known"}
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert json.loads(invoke("views", "lookup", "a/b", "--url", url, "--json").stdout) == told
        shown = invoke("views", "lookup", "a/b", "--url", url).stdout
        assert "a/b (order): parked" in shown
        assert "parked: bug\n0 records behind the log, says http://127.0.0.1:1" in shown
        missing = invoke("views", "lookup", "other", "--url", url)
        assert (missing.exit_code, missing.stderr) == (3, "error: no run is known\n")
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
