"""The compose file as people use it: broker, topics, two workers, and a demo that ends well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from processor.dev.local_broker import free_port

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
BASE = "python:3.11-slim"
IMAGE = "processor:dev"
RESULT = "Order processing completed successfully!"


def run(
    *command: str, timeout_s: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, **environment},
    )


def compose_command() -> list[str]:
    """Return the compose that is here: Docker's own plugin, or the program of its own."""
    if shutil.which("docker") is None or run("docker", "info").returncode:
        pytest.skip("no Docker engine answers")
    if run("docker", "compose", "version").returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("neither `docker compose` nor docker-compose is installed")


def ensure_image() -> None:
    """Make the image of this checkout, from the host's Python where no base can be pulled."""
    if run("docker", "pull", "--quiet", BASE, timeout_s=300).returncode == 0:
        build = ("docker", "build", "-f", "deploy/Dockerfile", "-t", IMAGE, ".")
        made = run(*build, timeout_s=600)
    else:
        script = str(ROOT / "deploy" / "image-from-host")
        made = run(script, IMAGE, timeout_s=600, PYTHON=sys.executable)
    assert made.returncode == 0, made.stdout + made.stderr


class Project:
    """One compose project, by a name that no other has."""

    def __init__(self, command: list[str]) -> None:
        self._command = [*command, "-p", f"processor-test-{uuid.uuid4().hex[:8]}"]
        self._port = str(free_port())

    def __call__(self, *arguments: str, timeout_s: float = 60) -> str:
        done = run(*self._command, *arguments, timeout_s=timeout_s, KAFKA_PORT=self._port)
        assert done.returncode == 0, f"compose {arguments}:\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def project() -> Iterator[Project]:
    command = compose_command()
    ensure_image()
    compose = Project(command)
    try:
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "5", timeout_s=120)


@pytest.mark.timeout(900)
def test_the_demo_ends_well(project: Project) -> None:
    project("up", "-d", timeout_s=240)
    demo = project("ps", "-q", "demo").strip()
    code = run("docker", "wait", demo, timeout_s=180).stdout.strip()
    logs = project("logs", "--no-color")
    assert code == "0", logs
    assert RESULT in project("logs", "--no-color", "demo"), logs
