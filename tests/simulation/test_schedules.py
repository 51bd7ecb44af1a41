"""Schedules over a year in which processes die while runs begin: each time has its run, once."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Final

import pytest

from processor import Settings, workflow
from processor.core.data.cause import NamedRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.schedules.calendar import When
from processor.schedules.runs import beginning, run_id_of
from processor.schedules.spec import SCHEDULE, instance_of, merged, plain_options
from processor.simulation.faults import Faults
from processor.simulation.hosts.host import Code
from processor.simulation.scheduler import START_MS
from processor.simulation.world import World
from processor.workflow._engine.runners import WorkflowRunners

from .story import PAYLOADS

SCHEDULES: Final = int(os.environ.get("SCHEDULES", 3))
"""The figure to reach is SCHEDULES=1000."""

_DAY_MS: Final = 86_400_000
_YEAR_MS: Final = 365 * _DAY_MS
_CHECKED_MS: Final = START_MS + _YEAR_MS - 4 * _DAY_MS
"""A takeover may take three days."""

_DAYS_BETWEEN_KILLS: Final = 3
_FAULTS: Final = Faults(duplicated=0.01, late=0.02, stray=0.2, unknown_offset=0.01)


@workflow.define
async def daily(wait: float) -> None:
    workflow.publish("runs", workflow.info().workflow_id, workflow.info().started.isoformat())
    await workflow.sleep(wait)


class Year:
    """Hosts share the shards. Whichever has one dies at a time that is due, or soon after it."""

    def __init__(self, seed: int, schedules: int, cached: int) -> None:
        world = self.world = World(seed, 4, _FAULTS, Settings(cached_runs_max=cached))
        registry = Registry([daily], [], Injected(PAYLOADS))
        self._code = Code(registry, WorkflowRunners(registry, world._setting.settings), None)
        self.kills = 0
        for name in ("a", "b", "c"):
            world.host(name, self._code)
        for partition in range(4):
            world.assign(partition, "abc"[partition % 3])
        client = world.client("client")
        self.whens: dict[str, When] = {}
        for number in range(schedules):
            self._create(client, f"s{number}", number)

    def _create(self, client: Any, id: str, number: int) -> None:
        zone = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC")[number % 4]
        how = {"cron": f"{number % 3 * 15} 2 * * *", "tz": zone, "overlap": "buffer-all"}
        config = merged({"workflow": "daily", "args": [number % 5 * 600]}, plain_options("x", how))
        state = beginning(paused=False, note="", limit=None)
        start = StartRun(SCHEDULE, PAYLOADS.encode([config, state]))
        command = ClientCommand(instance_of(id), start, NamedRequest(id))
        client.request(command, lambda answer: None)
        self.whens[id] = When.of(config["when"])

    def run(self) -> None:
        scheduler = self.world.scheduler
        for day in range(2, 364, _DAYS_BETWEEN_KILLS):
            id = scheduler.random.choice([*self.whens])
            due_ms = next(self.whens[id].after(START_MS + day * _DAY_MS))
            late_ms = scheduler.random.choice((0, 1, 5, 20, 50, 200))
            scheduler.after(due_ms + late_ms - scheduler.now_ms, "a kill", self._kill)
        while scheduler.step(START_MS + _YEAR_MS):
            pass

    def _kill(self) -> None:
        """Let a host die. Its shards go to others, sooner or later; it comes back in an hour."""
        world, random = self.world, self.world.scheduler.random
        name = random.choice([host.name for host in world.hosts.values() if host.alive])
        world.hosts[name].crash()
        self.kills += 1
        others = [host.name for host in world.hosts.values() if host.alive]
        for partition, owner in list(world.owners.items()):
            if owner == name:
                to, wait_ms = random.choice(others), random.choice((0, 100, 6_000, 3 * _DAY_MS))
                world.scheduler.after(
                    wait_ms, "a takeover", lambda p=partition, to=to: self._take(p, to)
                )
        world.scheduler.after(3_600_000, "a restart", lambda: world.restart(name))

    def _take(self, partition: int, to: str) -> None:
        if self.world.hosts[to].alive:
            self.world.assign(partition, to)


@pytest.mark.timeout(300 + SCHEDULES * 60)
def test_each_time_of_a_year_has_its_run_once() -> None:
    """Few runs stay in memory, so that schedules are replayed when they are due."""
    year = Year(1, SCHEDULES, cached=2)
    year.run()
    begun = Counter(each.key.decode() for each in year.world.broker.published() if each.key)
    wanted = Counter(
        run_id_of(id, moment_ms)
        for id, when in year.whens.items()
        for moment_ms in takewhile(lambda each: each < _CHECKED_MS, when.after(START_MS))
    )
    assert len(wanted) == SCHEDULES * (wanted.total() // SCHEDULES) and max(begun.values()) == 1
    assert wanted - begun == Counter(), "a time has no run"
    assert {id for id in begun - wanted if _time_of(id) < _CHECKED_MS} == set(), "it has no time"
    assert year.kills > 100 and not year.world.broker.dead_letters
    year.world.close()


def _time_of(id: str) -> float:
    at = datetime.fromisoformat(id.partition("-")[2].removesuffix("Z"))
    return at.replace(tzinfo=UTC).timestamp() * 1000
