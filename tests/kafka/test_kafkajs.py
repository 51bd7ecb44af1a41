"""The example for Node.js: JSON to ``commands``, and the result from ``results``, with kafkajs."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from processor import Worker
from processor.cli.modules import load_code
from processor.data import data_dir
from tests.orders import DONE

SCRIPT = Path(__file__).parents[2] / "examples" / "start_with_kafkajs.mjs"
PACKAGES = ("kafkajs@2.2.4", "avsc@5.7.9", "lz4js@0.2.0")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script beside its packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    quiet = ("--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=0")
    command = ["npm", "install", *quiet, *PACKAGES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"npm cannot install {', '.join(PACKAGES)}: {done.stderr[-300:]}")
    return Path(shutil.copy(SCRIPT, folder))


@pytest.mark.timeout(240)
def test_a_result_is_read_by_kafkajs(
    kafka_servers: str, made: str, tmp_path: Path, script: Path
) -> None:
    async def main() -> None:
        found = load_code(["examples.orders"])
        code = {"workflows": found.workflows, "activities": found.activities}
        async with Worker(kafka_servers, namespace=made, **code, state_dir=tmp_path):
            schema = data_dir("schemas") / "run_result.avsc"
            command = ["node", script, kafka_servers, "order-é", schema, made]
            pipe = asyncio.subprocess.PIPE
            node = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
            try:
                async with asyncio.timeout(120):
                    said, errors = await node.communicate()
            finally:
                if node.returncode is None:
                    node.kill()
            assert node.returncode == 0, errors.decode()
            assert said.decode().split() == f"order-é completed {DONE}".split(), errors.decode()

    asyncio.run(main())
