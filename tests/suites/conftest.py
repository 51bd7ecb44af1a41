"""Each case runs four times: embedded and simulated, with cached code and replayed at each turn.

The runtime serves all that the module of the case defines, and is shared by the cases of a module:
each takes ids of its own. A case is an ``async def`` that takes the ``client`` of that runtime.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from processor import Client, Settings, Worker
from processor.cli.modules import UserCode, code_in
from processor.testing import Environment

from .passing import SLOTS

SECONDS_MAX = 20
RUNTIMES = ["embedded-cached", "embedded-replayed", "simulated-cached", "simulated-replayed"]


@asynccontextmanager
async def _running(kind: str, code: UserCode, path: Path) -> AsyncIterator[Client]:
    settings = Settings(
        cached_runs_max=100 if kind.endswith("-cached") else 0,
        heartbeat_throttle_s=0,
        max_activities=SLOTS,
        strict_replay=True,
    )
    given: dict[str, Any] = {"workflows": code.workflows, "activities": code.activities}
    if kind.startswith("simulated"):
        async with Environment(**given, settings=settings) as env:
            yield env
        return
    server = f"embedded:{path}"
    async with Worker(server, **given, settings=settings), Client(server) as client:
        yield client


@pytest.fixture(scope="module", params=RUNTIMES)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[asyncio.Runner, Client]]:
    code = code_in([request.module])
    with asyncio.Runner() as runner:
        context = _running(request.param, code, tmp_path_factory.mktemp("suite"))
        client = runner.run(context.__aenter__())
        yield runner, client
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def client(served: tuple[asyncio.Runner, Client]) -> Client:
    return served[1]


@pytest.fixture
def id(request: pytest.FixtureRequest) -> str:
    """A workflow id that no other case has."""
    return f"{request.node.originalname.removeprefix('test_')}-{next(_numbers)}"


_numbers = itertools.count()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    runner, _ = pyfuncitem.funcargs["served"]
    names = inspect.signature(pyfuncitem.obj).parameters
    case = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    runner.run(asyncio.wait_for(case, SECONDS_MAX))
    return True
