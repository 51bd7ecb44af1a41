"""One path, and one test environment, hold one namespace: what is for another one is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    InvalidArgument,
    NamespaceNotFound,
    RetryPolicy,
    Worker,
    WorkflowFailed,
    WorkflowParked,
    checks,
    workflow,
)
from processor.testing import Environment


@workflow.define
async def charge(amount: int) -> str:
    return f"charged {amount}"


@workflow.define
async def refused(verb: str) -> str:
    there = workflow.handle("ledger", namespace="billing")
    try:
        match verb:
            case "call_child":
                return await workflow.call_child(charge, 5, namespace="billing")
            case "start_child":
                child = await workflow.start_child(charge, 5, namespace="billing")
                return child.id
            case "signal":
                await there.signal("paid", 5)
            case "cancel":
                return str(await there.cancel("over"))
            case "terminate":
                return str(await there.terminate("over"))
            case "query":
                return str(await there.query("total"))
            case "update":
                return str(await there.update("add", 5))
            case "value":
                return str(await there.value("total"))
            case "result":
                return str(await there.result())
            case "signal_with_start":
                found = await workflow.signal_with_start(
                    charge, 5, id="ledger", signal=("paid", 5), namespace="billing"
                )
                return found.id
    except NamespaceNotFound as error:
        return f"NamespaceNotFound: {error}"
    return "done"


@workflow.define
async def at_home(namespace: str) -> str:
    child = await workflow.start_child(charge, 5, namespace=namespace)
    return f"{await child} in {child.namespace}"


@workflow.define
async def waits_for_itself(namespace: str) -> None:
    await workflow.handle(workflow.info().workflow_id, namespace=namespace).result()


@workflow.define
async def updates_an_entity(namespace: str | None) -> None:
    await workflow.handle("@Account@ada", namespace=namespace).update("deposit", 5)


@workflow.define
async def lets_it_fail() -> str:
    return await workflow.call_child(charge, 5, namespace="billing", retry=RetryPolicy(1.0))


@workflow.define
async def misnamed(namespace: Any) -> str:
    told = []
    calls: list[Callable[[], Any]] = [
        lambda: workflow.handle("ledger", namespace=namespace),
        lambda: workflow.call_child(charge, 5, namespace=namespace),
        lambda: workflow.signal_with_start(
            charge, 5, id="a", signal=("paid", 5), namespace=namespace
        ),
    ]
    for call in calls:
        try:
            call()
        except InvalidArgument as error:
            told.append(str(error))
    return "; ".join(told)


VERBS = (
    *("call_child", "start_child", "signal", "cancel", "terminate"),
    *("query", "update", "value", "result", "signal_with_start"),
)
WORKFLOWS = [
    *(charge, refused, at_home, waits_for_itself),
    *(updates_an_entity, lets_it_fail, misnamed),
]


@pytest.mark.parametrize("verb", VERBS)
def test_whatever_is_asked_of_another_namespace_is_refused_at_once(verb: str) -> None:
    async def main() -> None:
        async with Environment(WORKFLOWS) as env:
            told = await env.run(refused, verb)
        assert told.startswith("NamespaceNotFound: nothing was sent to ")
        assert told.endswith(
            "of namespace 'billing': this runtime holds namespace 'default' alone. Workers of a "
            "Kafka reach its other namespaces"
        )

    asyncio.run(main())


def test_a_path_refuses_as_the_test_environment_does(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, namespace="shop", workflows=WORKFLOWS):
            async with Client(server, namespace="shop") as client:
                told = [await client.run(refused, verb, timeout=60) for verb in VERBS]
                assert all("holds namespace 'shop' alone" in each for each in told)
                assert await client.run(at_home, "shop", timeout=60) == "charged 5 in shop"
                with pytest.raises(WorkflowFailed, match="NamespaceNotFound"):
                    await client.run(lets_it_fail, timeout=60)

    asyncio.run(main())


def test_what_was_refused_stays_so_when_the_path_is_opened_again(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=WORKFLOWS), Client(server) as client:
            told = await client.run(refused, "call_child", id="r", timeout=60)
        async with Worker(server, workflows=WORKFLOWS, max_cached_runs=0), Client(server) as client:
            assert await client.handle("r").result(60) == told
            history = [event.type for event in await client.handle("r").history()]
            assert history.count("ChildEnded") == 1

    asyncio.run(main())


def test_the_own_namespace_by_name_is_the_own_namespace() -> None:
    async def main() -> None:
        async with Environment(WORKFLOWS, max_cached_runs=0) as env:
            assert await env.run(at_home, "default") == "charged 5 in default"
            with pytest.raises(WorkflowFailed, match="waits for its own end, and would never end"):
                await env.run(waits_for_itself, "default")

    asyncio.run(main())


@pytest.mark.parametrize("namespace", ["", "a b", "n" * 233, 7, "a.activities", "a.activities.b"])
def test_what_can_be_no_namespace_is_no_argument(namespace: Any) -> None:
    async def main() -> None:
        async with Environment(WORKFLOWS) as env:
            told = (await env.run(misnamed, namespace)).split("; ")
        begins = ("workflow.handle: ", "workflow.call_child: ", "workflow.signal_with_start: ")
        found = [each for each in told if each.startswith(begins)]
        assert len(found) == 3 and all("namespace" in each for each in found)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("namespace", "match"),
    [
        (None, "'@Account@ada' is an entity: use workflow.call_entity"),
        ("billing", "of namespace 'billing' is an entity: a workflow of its namespace can call it"),
    ],
)
def test_who_updates_an_entity_hears_how_it_is_called(namespace: str | None, match: str) -> None:
    async def main() -> None:
        async with Environment(WORKFLOWS) as env:
            with pytest.raises(WorkflowParked, match=match):
                await env.run(updates_an_entity, namespace)

    asyncio.run(main())


@pytest.mark.parametrize("namespace", ["a.activities", "a.b.activities.c"])
def test_no_namespace_has_the_topics_of_another_ones_queues(namespace: str) -> None:
    """What is for ``a.activities.commands`` would be read by workers of queue ``commands``."""
    for made in (Client, Worker):
        with pytest.raises(InvalidArgument, match="those of queues of namespace 'a"):
            made("localhost:9", namespace=namespace)
        with pytest.raises(InvalidArgument, match="those of replies of namespace 'a"):
            made("localhost:9", namespace=namespace.replace("activities", "replies"))
    for name in ("activities", "activities.x", "a.activities-b", "my.activitiesx.y", "replies"):
        assert checks.namespace(name, "its name") == name
