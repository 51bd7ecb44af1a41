"""What is played for the histories of the open level: see ``record.py``.

Each script waits for what it is told before it goes on, so that its histories come out the same on
every runtime whose clock it may sleep by.
"""

from __future__ import annotations

from typing import Any

import pytest

from processor import (
    ApplicationError,
    PromiseNotOpen,
    QueryFailed,
    RetryPolicy,
    UpdateFailed,
    UpdateRejected,
    UpdateUnfinished,
)
from processor.testing import Environment

from . import programs_open as code

__all__ = ("SCRIPTS",)


async def handlers(env: Environment) -> dict[str, str]:
    handle = await env.start(code.Committee.run, 3, id="committee")
    await handle.signal(code.Committee.vote, "Ada", 1)
    await handle.signal("nobody-has-it", 1, "two")
    await handle.signal(code.Committee.set_seat, "Grace")
    await handle.signal("vote", "it does not fit")
    await env.sleep(2)
    assert await handle.query(code.Committee.missing, 3) == 1
    with pytest.raises(QueryFailed):
        await handle.query("vote")
    await handle.signal("vote", "Barbara", 3)
    assert await handle.result() == [{"Ada": 2, "Grace": 0, "Barbara": 6}, ["nobody-has-it"]]
    listens = await env.start(code.listens, id="listens")
    await listens.signal("add", 4)
    await env.sleep(6)
    assert await listens.update("add-up", 5, id="u1") == 9
    await listens.signal("add", 6)
    assert await listens.result() == 10
    assert await env.run(code.plain, 1, id="plain") == 2
    return {"signals": "committee", "listens": "listens", "plain": "plain"}


async def updates(env: Environment) -> dict[str, str]:
    begun = {"id": "account", "update_id": "first"}
    deposit, account = code.Account.deposit, code.Account
    assert await env.update_with_start(account.run, update=(deposit, 5), **begun) == 10
    handle: Any = env.handle("account", workflow=account.run)
    with pytest.raises(UpdateRejected):
        await handle.update(deposit, 0, id="refused")
    assert await handle.update(deposit, 5, id="first") == 10, "the id is known"
    assert await handle.update(deposit, 7, id="second") == 24
    with pytest.raises(UpdateFailed):
        await handle.update(account.withdraw, 100, id="third")
    with pytest.raises(UpdateRejected, match="there is no update"):
        await handle.update("unknown", id="unknown")
    dropped = await handle.start_update(account.never_ends, id="fourth")
    assert await handle.update(account.close, id="fifth") == "closed"
    with pytest.raises(UpdateUnfinished):
        await dropped.result()
    assert await handle.result() == 24
    return {"updates": "account"}


async def children(env: Environment) -> dict[str, str]:
    handle = await env.start(code.parent, id="parent")
    expected = [6, 0, "taken", "told", ["failed", "a child fails"], "cancelled", "given up"]
    assert await handle.result() == expected
    await env.sleep(10)
    await env.handle("child-abandoned").raise_event("go", "on")
    spares = await env.start(code.spares, id="spares")
    await env.sleep(10)
    await spares.terminate("enough", recursive=False, output={"done": 1})
    await env.sleep(10)
    names = ("called", "begun", "fails", "stopped", "timed-out", "left", "abandoned", "spared")
    ids = ("parent", "spares", *(f"child-{name}" for name in names))
    return {id: id for id in ids}


async def chains(env: Environment) -> dict[str, str]:
    handle = await env.start(code.meters, [], id="meters", memo={"for": "a test"})
    for number in range(5):
        await handle.raise_event("number", number)
        await env.sleep(5 * (number == 1))  # three numbers wait for the second run
    assert await handle.result() == [0, 1, 2, 3, 4]
    counts = await env.start(code.counts, id="counts", cron="* * * * *")
    await env.sleep(5 * 60)
    await counts.cancel("enough")
    flaky = await env.start(code.flaky, 2, id="flaky")
    await env.sleep(30)
    await flaky.raise_event("word", "kept")
    assert await flaky.result() == [3, "attempt 2 fails", "kept"]
    later = await env.start(code.plain, 3, id="later", delay=3_600)
    await env.sleep(5)
    await later.start_now()
    assert await later.result() == 4
    return {"continue-as-new": "meters", "cron": "counts", "retry": "flaky", "delay": "later"}


async def values(env: Environment) -> dict[str, str]:
    told = {"customer": 7}
    handle = await env.start(code.sets_values, id="values", memo=told, attributes=told)
    assert await handle.value("number") == 1
    assert [each async for each in handle.watch("progress")][-1] is None
    made = await env.start(code.promises, id="promises")
    first, second, third = await made.value("ids")
    await env.resolve(first, 1)
    await env.sleep(5)
    await env.reject(second, "there is none", type="OutOfStock", details=[7])
    with pytest.raises(PromiseNotOpen):
        await env.resolve(first, 2)
    await env.sleep(100)
    await env.resolve(third, "late")
    ends = [1, ["OutOfStock", "there is none"], "nobody settles it", "late"]
    assert await made.result() == ends
    return {"values": "values", "promises": "promises"}


async def instances(env: Environment) -> dict[str, str]:
    await env.start(code.Stock.run, id="stock")
    asks = await env.start(code.asks, id="asks")
    told: Any = await asks.result()
    assert told[:4] == [5, 2, "there are only 2", 2], told
    await env.start(code.fails, id="fails")
    assert await env.run(code.asks_one_that_fails, id="asks-fails") == "as it was asked to"
    *refused, own = await env.run(code.elsewhere, id="elsewhere")
    assert own == 4 and all("namespace 'billing'" in each for each in refused)
    ids = ("stock", "another-stock", "asks", "fails", "asks-fails", "elsewhere")
    return {f"instance-{id}": id for id in ids}


async def operators(env: Environment) -> dict[str, str]:
    handle: Any = await env.start(code.labours, id="labours")
    await env.sleep(5)
    await handle.activity(1).retry_now()
    await env.sleep(5)
    second = handle.activity(2)
    await second.pause("look at it first")
    await second.retry_now()
    await env.sleep(3 * 3_600)
    await second.reset("it counts from here")
    await second.set_options(start_to_close=60, retry=RetryPolicy(maximum_attempts=5))
    await second.resume("it looks good")
    await env.sleep(3 * 3_600)
    await handle.activity(3).complete("by hand")
    await env.sleep(5)
    await handle.activity(4).fail(ApplicationError("by hand, too", type="Failed", retryable=False))
    assert await handle.result() == [2, 3, "by hand", "by hand, too"]
    assert await env.run(code.stops, id="stops") == "as far as it came"
    alone = await env.run_activity(code.double, 4, id="alone")
    assert alone == 8
    return {"operators": "labours", "stops": "stops", "activity-alone": "alone"}


async def entities(env: Environment) -> dict[str, str]:
    assert await env.run(code.lights, "hall", id="lights") == "it burns"
    await env.sleep(100)
    return {"lights": "lights", "lamp": "@Lamp@hall"}


async def locks(env: Environment) -> dict[str, str]:
    keeps = await env.start(code.keeps, id="keeps")
    await env.sleep(1)
    waits = await env.start(code.carries, "c", "kept", 1, id="lock-waits")
    assert await env.run(code.carries, "b", "a", 4, id="lock-carries") == [6, 14, True, "given up"]
    assert await env.entity(code.Box, "kept").unlock("a test")
    assert await keeps.result() == "lost"
    assert (await waits.result())[2:] == [True, "locked"]
    boxes = {f"locks-box-{name}": f"@Box@{name}" for name in ("a", "kept")}
    return boxes | {
        "locks-keep": "keeps",
        "locks-wait": "lock-waits",
        "locks-carry": "lock-carries",
    }


async def keys(env: Environment) -> dict[str, str]:
    parcel = env.correlated("parcel", "P-1")
    await parcel.signal("item", {"number": 1})
    await parcel.signal("item", 2, keep=60)
    first = await env.start(code.awaits_parcel, "P-1", 3, id="parcel-first")
    await env.sleep(1)
    assert await env.run(code.awaits_parcel, "P-1", 1, id="parcel-taken") == ["parcel-first"]
    await parcel.signal("item", 3)
    assert await first.result() == [{"number": 1}, 2, 3]
    await parcel.signal("item", "late", keep=5)
    await env.sleep(10)
    (letter,) = env.dead_letters
    assert letter.value == b'"late"'
    held = await env.start(code.awaits_parcel, "P-2", 1, id="parcel-released")
    await env.sleep(1)
    other = env.correlated("parcel", "P-2")
    released = await env.handle(other.id).update("release", id="released")  # not a random id
    assert released[0] == "parcel-released"
    await held.terminate()
    return {
        "key-first": "parcel-first",
        "key-taken": "parcel-taken",
        "key-kept": parcel.id,
        "key-freed": other.id,
    }


SCRIPTS = (
    *(handlers, updates, children, chains, values, instances, operators, entities, locks),
    keys,
)
