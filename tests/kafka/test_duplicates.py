"""Many clients that start the same workflow id at the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from processor import Client, WorkflowAlreadyStarted
from tests.kafka.evidence import record
from tests.kafka.probes import collects
from tests.kafka.talking import PATIENT, ask, first_answer

CLIENTS = 50


@pytest.mark.usefixtures("workers")
def test_fifty_clients_start_one_id(kafka_servers: str, made: str) -> None:
    """One run begins; the others hear that, or, if they asked for it, get the one that is there."""

    async def talk(first: Client) -> None:
        await first_answer(first)
        async with AsyncExitStack() as stack:
            clients = await asyncio.gather(
                *(
                    stack.enter_async_context(
                        Client(kafka_servers, namespace=made, settings=PATIENT)
                    )
                    for _ in range(CLIENTS)
                )
            )
            answers = Counter(await asyncio.gather(*(refused(each) for each in clients)))
            assert answers == {"WorkflowAlreadyStarted": CLIENTS - 1, "started": 1}
            handles = await asyncio.gather(
                *(
                    each.start(collects, 1, id="shared", conflict="use-existing", timeout=30)
                    for each in clients
                )
            )
            assert len({handle.run_id for handle in handles}) == 1
        for id in ("refused", "shared"):
            handle = first.handle(id)
            await handle.raise_event("passed", 7)
            assert await handle.result(30) == [7]
            events = [event.type for event in await handle.history()]
            assert events == ["WorkflowStarted", "EventReceived", "WorkflowCompleted"]
        record(
            "duplicate starts",
            f"{CLIENTS} clients start one id at once: conflict=fail, then use-existing",
            2,
            f"one run each; {CLIENTS - 1} heard WorkflowAlreadyStarted, then all got its handle",
        )

    ask(kafka_servers, made, talk)


async def refused(client: Client) -> str:
    try:
        await client.start(collects, 1, id="refused", timeout=30)
    except WorkflowAlreadyStarted as error:
        return type(error).__name__
    return "started"
