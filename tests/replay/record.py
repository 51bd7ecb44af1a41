"""Records new golden histories: python -m tests.replay.record [--open]

Plays each script below that has no recording yet, and writes its histories. What is recorded is
never written again: a history that a release has written has to be readable for ever.

``--open`` records those of the open level (``scripts_open``), each time anew: nobody has logs of
it. When a level is closed, ``programs_open.py`` is frozen as ``programs_<level>.py``, its histories
go to ``recorded/<level>``, and the manifest lists them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from processor import ProcessorError, Settings, workflow
from processor.activity import Activity
from processor.codec.records import encode
from processor.core.data.failure import Failure
from processor.core.nouns.run import RunParked
from processor.core.records.snapshot import EntityDelta, Snapshot
from processor.core.records.turn import AttemptRecord, Turn
from processor.simulation.hosts.host import Code
from processor.testing import Environment
from processor.workflow._engine.runners import WorkflowRunners
from tests.orders import SCENARIOS, Scenario, play
from tests.simulation.reading import read

from . import programs_1 as code
from . import programs_open, samples_1, scripts_open
from .append_only import HERE, MANIFEST, recorded_files
from .recording import OPEN, RECORDED, describe, dump, entities_of, registry_of

LEVEL = "1"
ROOT = HERE.parent.parent

Script = Callable[[Environment], Awaitable[dict[str, str]]]
"""Plays something; returns the workflow id of each history, by the name to record it under."""


# --- what is played ---------------------------------------------------------------------------


def order(scenario: Scenario) -> Script:
    async def script(env: Environment) -> dict[str, str]:
        await play(env, scenario, "order-1", env.sleep)
        return {f"order-{scenario.name}": "order-1"}

    return script


def plainly(name: str, program: Any, *args: Any) -> Script:
    """Run a program that needs nobody."""

    async def script(env: Environment) -> dict[str, str]:
        with suppress(ProcessorError):  # programs that fail are recorded too
            await env.run(program, *args, id=name)
        return {name: name}

    return script


async def events(env: Environment) -> dict[str, str]:
    handle = await env.start(code.events, id="events")
    await handle.raise_event("word", "kept")
    await handle.raise_event("number", 1)
    await env.sleep(1)
    await handle.raise_event("number", "no number")
    await handle.raise_event("number", 2)
    await handle.raise_event("nobody waits for it", None)
    assert await handle.result() == [1, 2, -1, "kept"]
    return {"events": "events"}


async def conditions(env: Environment) -> dict[str, str]:
    handle = await env.start(code.conditions, id="conditions")
    for number in range(3):
        await env.sleep(10)
        await handle.raise_event("number", number)
    await handle.result()
    return {"conditions": "conditions"}


async def races(env: Environment) -> dict[str, str]:
    handle = await env.start(code.races, id="races")
    await env.sleep(5)
    await handle.raise_event("go", "now")
    await handle.result()
    return {"races": "races"}


async def cancelled(env: Environment) -> dict[str, str]:
    for name, program in (("cancelled", code.cleans_up), ("cancel-caught", code.goes_on)):
        handle: Any = await env.start(program, id=name)
        await env.sleep(5)
        await handle.cancel("a test")
        await env.sleep(5)
    return {"cancelled": "cancelled", "cancel-caught": "cancel-caught"}


async def ended_from_outside(env: Environment) -> dict[str, str]:
    terminated = await env.start(code.waits, id="terminated", memo={"for": "the test"})
    await env.start(code.waits, id="timed-out", execution_timeout=30)
    await env.sleep(5)
    await terminated.terminate("a test")
    await env.sleep(60)
    return {"terminated": "terminated", "timed-out": "timed-out"}


async def messages(env: Environment) -> dict[str, str]:
    await env.start(code.receives, "sender", id="receiver")
    await env.start(code.waits, id="victim")
    await env.run(code.sends, "receiver", "victim", id="sender")
    return {f"message-{each}": each for each in ("sender", "receiver", "victim")}


async def parked(env: Environment) -> dict[str, str]:
    """Broken code parks two runs; the frozen code takes one of them up."""

    @workflow.define
    async def parks() -> list[Any]:
        number = await code.double(21)
        return [number, await workflow.wait_for_event("go", int) // 0]

    replaced = dict(vars(code), parks=parks)
    restart(env, replaced)
    handle = await env.start(code.parks, id="parked")
    given_up = await env.start(code.parks, id="parked-terminated")
    for each in (handle, given_up):
        await env.sleep(1)
        await each.raise_event("go", 1)
    await env.sleep(1)
    await handle.raise_event("go", 2)  # the code does not see it yet
    await given_up.terminate("nobody corrects it")
    await env.sleep(1)
    restart(env, vars(code))
    assert await handle.result() == [42, 1, 2, 2]
    return {"parked": "parked", "parked-terminated": "parked-terminated"}


async def crash(env: Environment) -> dict[str, str]:
    handle = await env.start(code.survives_a_crash, id="crash")
    await env.sleep(10)
    restart(env, vars(code))
    assert await handle.result() == [20.0, 30.0, 25.0]
    return {"crash": "crash"}


SCRIPTS: tuple[Script, ...] = (
    *(order(scenario) for scenario in SCENARIOS),
    plainly("chain", code.chain, 1),
    events,
    plainly("timers", code.timers),
    conditions,
    races,
    plainly("gathered", code.gathered, [1, 2, 3]),
    plainly("grouped", code.grouped),
    plainly("coordination", code.coordination),
    cancelled,
    ended_from_outside,
    plainly("retries", code.retries),
    plainly("fails", code.fails),
    plainly("queues", code.uses_queues),
    plainly("side-effects", code.side_effects),
    plainly("publishes", code.publishes),
    messages,
    plainly("status", code.has_a_status),
    parked,
    crash,
)


# --- how it is recorded -----------------------------------------------------------------------


def main(opened: bool = False) -> int:
    if opened:
        record_open()
        return 0
    folder = RECORDED / LEVEL
    folder.mkdir(parents=True, exist_ok=True)
    samples = folder / "samples.json"
    if not samples.exists():
        samples.write_text(samples_1.dump(), encoding="utf-8")
        print(f"{samples.relative_to(HERE)} is new")
    for script in SCRIPTS:
        for name, values in asyncio.run(played(script, code)).items():
            path = folder / f"{name}.json"
            if path.exists():
                print(f"{path.relative_to(HERE)} is recorded already")
                continue
            path.write_text(dump(describe(values, code)), encoding="utf-8")
            print(f"{path.relative_to(HERE)} is new")
    listed = MANIFEST.read_text() if MANIFEST.exists() else ""
    for file in recorded_files(HERE):
        if f" {file}\n" not in listed:
            listed += f"{sha256((HERE / file).read_bytes()).hexdigest()} {file}\n"
    MANIFEST.write_text(listed)
    return 0


def record_open() -> None:
    """Record the histories of the open level anew."""
    OPEN.mkdir(exist_ok=True)
    for path in OPEN.glob("*.json"):
        path.unlink()
    for script in scripts_open.SCRIPTS:
        for name, values in asyncio.run(played(script, programs_open)).items():
            path = OPEN / f"{name}.json"
            path.write_text(dump(describe(values, programs_open)), encoding="utf-8")


async def played(
    script: Script, code: ModuleType, max_cached_runs: int | None = None
) -> dict[str, list[bytes]]:
    """Play a script in virtual time; return the turns of each of its histories.

    Of a chain each run has a history: ``name``, ``name-2``, ``name-3`` ...
    """
    activities = [each for each in vars(code).values() if isinstance(each, Activity)]
    workflows = registry_of(vars(code)).workflows.values()
    code_of = {"entities": entities_of(vars(code)), "max_cached_runs": max_cached_runs}
    async with Environment(workflows, activities, **code_of) as env:
        names = await script(env)
        valid = [_as_turn(each.record) for each in read(env._world, 0).records]
    histories: dict[str, list[bytes]] = {}
    for name, workflow_id in names.items():
        runs: dict[str, list[bytes]] = {}
        for each in valid:
            if isinstance(each, Turn | AttemptRecord) and each.workflow_id == workflow_id:
                runs.setdefault(each.run_id, []).append(encode(_portable(each)))
        for number, values in enumerate(runs.values(), 1):
            histories[name if number == 1 else f"{name}-{number}"] = values
    return histories


def _as_turn(record: Any) -> Any:
    """Return a snapshot of an entity as the turn that it is: it is replayed from its start."""
    if not isinstance(record, Snapshot | EntityDelta):
        return record
    return Turn(**{field.name: getattr(record, field.name) for field in fields(Turn)})


def restart(env: Environment, programs: dict[str, Any]) -> None:
    """Let the process die, and start it with (other) code."""
    host = env._world.hosts["host"]
    host.crash()
    registry = registry_of(programs)
    host._code = Code(registry, WorkflowRunners(registry, Settings()), ("default", "far"))
    env._world.restart("host")


def _portable(record: Turn | AttemptRecord) -> Turn | AttemptRecord:
    """Leave the paths of this machine out of tracebacks."""
    if isinstance(record, Turn):
        return replace(record, events=tuple(_without_paths(event) for event in record.events))
    state = record.state
    first, last = (each and _failure(each) for each in (state.first_failure, state.last_failure))
    return replace(record, state=replace(state, first_failure=first, last_failure=last))


def _without_paths(value: Any) -> Any:
    match value:
        case Failure():
            return _failure(value)
        case RunParked():
            where, traceback = _relative(value.where), _relative(value.traceback)
            return replace(value, where=where, traceback=traceback)
        case _ if is_dataclass(value) and not isinstance(value, type):
            held = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
            inner = {name: _without_paths(each) for name, each in held.items()}
            return replace(
                value, **{name: inner[name] for name in held if inner[name] != held[name]}
            )
        case _:
            return value


def _failure(failure: Failure) -> Failure:
    cause = None if failure.cause is None else _failure(failure.cause)
    text = None if failure.traceback is None else _relative(failure.traceback)
    return replace(failure, traceback=text, cause=cause)


def _relative(text: str) -> str:
    return text.replace(f"{ROOT}{Path('/')}", "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] == ["--open"]))
