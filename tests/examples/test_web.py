"""The examples over HTTP: curl, JavaScript and Go that poll, a FastAPI app, a Django project."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from examples import orders
from examples.web.imports import import_file, read_chunk
from processor import Worker, activity, workflow
from processor.api import HttpOptions

ROOT = Path(__file__).parents[2]
ROWS = 5 * len("customers.csv") + sum(range(5))


ORDERS = [each for each in vars(orders).values() if isinstance(each, activity.Activity)]


@workflow.define
async def payroll() -> str:
    return "secret"


def served(folder: Path, talk: Callable[[str], Awaitable[None]]) -> None:
    """Run a worker with the API, and talk to that."""

    async def main() -> None:
        workflows = [import_file, payroll, orders.order_processing]
        code = {"workflows": workflows, "activities": [read_chunk, *ORDERS]}
        worker = Worker(f"embedded:{folder}", **code, http=HttpOptions(port=0))
        async with asyncio.timeout(90), worker:
            assert worker.http_url is not None
            await talk(worker.http_url)

    asyncio.run(main())


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "examples/web/poll.sh"],
        ["node", "examples/web/poll.mjs"],
        ["go", "run", "examples/web/poll.go"],
    ],
    ids=["curl", "node", "go"],
)
def test_a_long_job_is_polled(tmp_path: Path, command: list[str]) -> None:
    if shutil.which("curl" if command[0] == "sh" else command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")

    async def talk(url: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *command, url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0
        first, second = said.splitlines()
        assert re.fullmatch(r"202, and it will be at /api/v1/namespaces/default/.+", first)
        assert str(ROWS) in second and "rows" in second

    served(tmp_path, talk)


def test_the_page_asks_with_curl(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    page = (ROOT / "docs" / "http-api.md").read_text()
    lines = page[page.index("    api=http") :].partition("\n\n")[0].replace("curl ", "curl -fsS ")

    async def talk(url: str) -> None:
        script = "set -e\n" + lines.replace("http://127.0.0.1:8233", url)
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", script, stdout=asyncio.subprocess.PIPE
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0
        assert '"status":"running"' in said
        assert '{"result":"Order processing completed successfully!"}' in said
        assert "event: EventReceived" in said
        assert said.rstrip().endswith('data: {"status":"completed","successor":null}')

    served(tmp_path, talk)


def test_a_fastapi_app_starts_and_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCESSOR_SERVER", f"embedded:{tmp_path}")
    from examples.web.fastapi_app import app, connected

    async def talk(_: str) -> None:
        transport = httpx.ASGITransport(app)
        async with (
            connected(app),
            httpx.AsyncClient(transport=transport, base_url="http://app", timeout=30) as http,
        ):
            key = {"Idempotency-Key": "7"}
            params = {"source": "customers.csv"}
            begun = await http.post("/imports", params=params, headers=key)
            again = await http.post("/imports", params=params, headers=key)
            assert begun.status_code == again.status_code == 202
            assert begun.json() == again.json()
            while (shown := await http.get(begun.headers["location"])).status_code == 202:
                assert shown.json()["status"] == "running"
                await asyncio.sleep(0.05)
            assert shown.json() == {"status": "completed", "result": {"rows": ROWS}}
            assert (await http.get("/imports/nobody")).status_code == 404
            assert (await http.get("/imports/" + "x" * 2_000)).status_code == 404
            empty = await http.post("/imports", params=params, headers={"Idempotency-Key": ""})
            assert empty.status_code == 422
            assert await app.state.client.run(payroll, id="payroll") == "secret"
            assert (await http.get("/imports/payroll")).status_code == 404

    served(tmp_path, talk)
    sys.modules.pop("examples.web.fastapi_app")


def test_a_django_project_starts_and_shows_and_its_client_lives_as_long_as_it(
    tmp_path: Path,
) -> None:
    program = [sys.executable, "-m", "tests.examples.django_project", str(tmp_path)]
    subprocess.run(program, cwd=ROOT, check=True, timeout=150)
