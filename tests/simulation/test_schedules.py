"""Schedules over a year in which processes die while runs begin: each time has its run, once.

Runs that are over are purged after two weeks, and cleaners go over the logs.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import partial
from itertools import takewhile
from typing import Final

import pytest

from processor import Settings, workflow
from processor.core.data.cause import NamedRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun
from processor.core.questions import QueryRun
from processor.core.records.answers import QueryAnswered, ReplyBody
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

SCHEDULES: Final = int(os.environ.get("SCHEDULES", 6))
"""``make many`` has 1,000."""

_TOGETHER_MAX: Final = 50
"""Schedules in one world. More of them have another year, one after the other."""

_CACHED_SHARE: Final = 3
"""For so many schedules a shard keeps one run in memory: most are replayed when they are due."""

_DAY_MS: Final = 86_400_000
_YEAR_MS: Final = 365 * _DAY_MS
_LAST_KILL: Final = 360
"""The day: a takeover may take three more."""

_DAYS_BETWEEN_KILLS: Final = 3
_DAYS_BETWEEN_PURGES: Final = 7
_KEPT_MS: Final = 14 * _DAY_MS
_POLICIES: Final = (
    "buffer-all",
    "skip",
    "allow-all",
    "buffer-one",
    "cancel-other",
    "terminate-other",
)
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
        self.kills = self.removed = 0
        for name in ("a", "b", "c"):
            world.host(name, self._code)
        for partition in range(4):
            world.assign(partition, "abc"[partition % 3])
        self._client = world.client("client")
        self.whens: dict[str, When] = {}
        self.policies: dict[str, str] = {}
        for number in range(schedules):
            self._create(f"s{number}", number)

    def _create(self, id: str, number: int) -> None:
        zone = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC")[number % 4]
        how = {"cron": f"{number % 3 * 15} 2 * * *", "tz": zone}
        how["overlap"] = self.policies[id] = _POLICIES[number % len(_POLICIES)]
        config = merged({"workflow": "daily", "args": [number % 5 * 600]}, plain_options("x", how))
        state = beginning(paused=False, note="", limit=None)
        start = StartRun(SCHEDULE, PAYLOADS.encode([config, state]))
        command = ClientCommand(instance_of(id), start, NamedRequest(id))
        self._client.request(command, lambda answer: None)
        self.whens[id] = When.of(config["when"])

    def run(self) -> None:
        scheduler = self.world.scheduler
        for day in range(2, _LAST_KILL, _DAYS_BETWEEN_KILLS):
            id = scheduler.random.choice([*self.whens])
            due_ms = next(self.whens[id].after(START_MS + day * _DAY_MS))
            late_ms = scheduler.random.choice((0, 1, 5, 20, 50, 200))
            scheduler.after(due_ms + late_ms - scheduler.now_ms, "a kill", self._kill)
        for day in range(0, 365, _DAYS_BETWEEN_PURGES):
            scheduler.after(day * _DAY_MS, "a purge", self._purge)
        while scheduler.step(START_MS + _YEAR_MS):
            pass

    def skipped(self) -> Counter[str]:
        """Return how many times each schedule says that it left out."""
        told: Counter[str] = Counter()

        def note(id: str, answer: ReplyBody) -> None:
            assert isinstance(answer, QueryAnswered), answer
            counts = json.loads(answer.result or b"")["state"]["counts"]
            assert not counts["missed"] and not counts["dropped"]
            told[id] = counts["skipped"]

        for id in self.whens:
            command = ClientCommand(instance_of(id), QueryRun("describe"), NamedRequest(f"{id}?"))
            self._client.request(command, partial(note, id))
        while self._client.waiting:
            assert self.world.scheduler.step()
        return told

    def _kill(self) -> None:
        """Let a host die. Its shards go to others, sooner or later, or wait for it."""
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
        back_ms = random.choice((1, 60)) * 3_600_000
        world.scheduler.after(back_ms, "a restart", lambda: world.restart(name))

    def _purge(self) -> None:
        """Give up what has been over for long; then a cleaner goes over the log of each shard."""
        world = self.world
        old_ms = world.scheduler.now_ms - _KEPT_MS
        for partition, name in world.owners.items():
            log, owner = world.broker.logs[partition], world.hosts[name].ownerships.get(partition)
            if owner is not None and owner.session is not None:
                for run in owner.session.tables.runs(""):
                    if run.closed_ms is not None and run.closed_ms < old_ms:
                        owner.do(lambda shard, run=run: shard.purge(run.workflow_id, run.run_id))
            self.removed += log.compact(log.cleanable())

    def _take(self, partition: int, to: str) -> None:
        if self.world.hosts[to].alive:
            self.world.assign(partition, to)


@pytest.mark.timeout(300 + SCHEDULES * 60)
def test_each_time_of_a_year_has_its_run_once_or_was_left_out_by_its_policy() -> None:
    """Each world has another seed."""
    for number, first in enumerate(range(0, SCHEDULES, _TOGETHER_MAX), 1):
        count = min(SCHEDULES - first, _TOGETHER_MAX)
        _check(Year(number, count, cached=max(count // _CACHED_SHARE, 1)))


def _check(year: Year) -> None:
    year.run()
    begun = Counter(each.key.decode() for each in year.world.broker.published() if each.key)
    assert max(begun.values()) == 1
    skipped = year.skipped()
    for id, when in year.whens.items():
        times = takewhile(lambda each: each < START_MS + _YEAR_MS, when.after(START_MS))
        wanted = {run_id_of(id, moment_ms) for moment_ms in times}
        runs = {each for each in begun if each.partition("-")[0] == id}
        assert runs <= wanted and len(wanted) >= 364, f"{id} has a run that has no time"
        left_out, policy = len(wanted - runs), year.policies[id]
        assert left_out == skipped[id], f"{id}, {policy}: {left_out} times have no run"
        assert not left_out or policy not in ("buffer-all", "allow-all"), f"{id}: {policy}"
    assert skipped.total() > 0, "while nobody worked several times passed"
    assert year.kills > 100 and not year.world.broker.dead_letters
    written = sum(log.end for log in year.world.broker.logs)
    assert year.removed > written / 3, "cleaners take what was purged"
    year.world.close()
