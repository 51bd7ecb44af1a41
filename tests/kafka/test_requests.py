"""Requests that reach a shard more than once: sent again by their client, or by its connection."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from processor import Client, Handle, Status, WorkflowNotFound
from processor.codec.records import decode_as
from processor.core.data.cause import ClientRequest
from processor.core.inputs import ClientCommand
from processor.core.operation import Operation
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.own_broker import OwnBroker, prepare
from tests.kafka.probes import collects
from tests.kafka.processes import StartWorker, WorkerProcess
from tests.kafka.talking import PATIENT, ask, committed, first_answer

pytestmark = pytest.mark.timeout(240)

PAUSED_S = 5.5
"""Clients ask again after 5 s, as those with default settings do, which give up after 10 s."""

ID = "asked-twice"


class Requests:
    """The commands of a namespace that may change something, by who asked for them."""

    def __init__(self, servers: str, namespace: str) -> None:
        self._servers = servers
        self._topic = f"{namespace}.commands"

    def sent(self) -> dict[ClientRequest, list[ClientCommand]]:
        """Return the copies of each request, in the order of the log."""
        found: dict[ClientRequest, list[ClientCommand]] = {}
        for message in committed(self._servers, self._topic, 0, "read_uncommitted"):
            command = decode_as(ClientCommand, message.value() or b"")
            if isinstance(command.body, Operation):
                assert isinstance(command.cause, ClientRequest)
                found.setdefault(command.cause, []).append(command)
        return found

    async def arrive(self, count: int, *, again: bool = False, timeout_s: float = 30.0) -> None:
        """Wait until there are so many requests, the last of them sent again by its client."""
        async with asyncio.timeout(timeout_s):
            while True:
                sent = list((await asyncio.to_thread(self.sent)).values())
                if len(sent) >= count and (sent[-1][-1].again or not again):
                    return
                await asyncio.sleep(0.05)


async def clients(stack: AsyncExitStack, servers: str, namespace: str, count: int) -> list[Client]:
    """Return so many clients that ask again when clients with default settings do."""
    made = [Client(servers, namespace=namespace, settings=PATIENT) for _ in range(count)]
    return [await stack.enter_async_context(each) for each in made]


async def while_paused(
    worker: WorkerProcess, requests: Requests, asked: list[Callable[[], Awaitable[Any]]]
) -> list[Any]:
    """Ask one after the other while the worker is paused, until each was sent again.

    Returns the answers, or what was raised instead.
    """
    before = await asyncio.to_thread(requests.sent)
    worker.signal(signal.SIGSTOP)
    begun = time.monotonic()
    asking: list[asyncio.Future[Any]] = []
    try:
        for number, each in enumerate(asked, 1):
            asking.append(asyncio.ensure_future(each()))
            await requests.arrive(len(before) + number)
        while time.monotonic() < begun + PAUSED_S:
            await asyncio.sleep(0.05)
        async with asyncio.timeout(40):
            while not _all_twice(await asyncio.to_thread(requests.sent), before):
                await asyncio.sleep(0.05)
    finally:
        worker.signal(signal.SIGCONT)
    return await asyncio.gather(*asking, return_exceptions=True)


def _all_twice(
    sent: dict[ClientRequest, list[ClientCommand]], before: dict[ClientRequest, list[ClientCommand]]
) -> bool:
    """Return whether each new request was sent again, as one that is known to a broker."""
    new = [copies for cause, copies in sent.items() if cause not in before]
    return all([copy.again for copy in copies][:2] == [False, True] for copies in new)


@pytest.fixture
def worker(kafka_servers: str, made: str, start_worker: StartWorker) -> WorkerProcess:
    """The only worker of the namespace ``made``."""
    return start_worker(kafka_servers, 0)


def test_events_of_two_clients_count_once_each(
    kafka_servers: str, made: str, worker: WorkerProcess
) -> None:
    """Both are sent again before the worker goes on; the shard has heard of one of them before."""
    requests = Requests(kafka_servers, made)

    async def talk(first: Client) -> None:
        await first_answer(first)
        async with AsyncExitStack() as stack:
            known, new = await clients(stack, kafka_servers, made, 2)
            handle = await known.start(collects, 3, id=ID)
            asked: list[Callable[[], Awaitable[Any]]] = [
                lambda: handle.raise_event("passed", 1),
                lambda: new.handle(ID).raise_event("passed", 2),
            ]
            assert await while_paused(worker, requests, asked) == [None, None]
            assert await passed(handle) == [1, 2], "none is lost, and none counts twice"
            await new.handle(ID).raise_event("passed", 3)
            assert await handle.result(30) == [1, 2, 3]
            assert await passed(handle) == [1, 2, 3]

    ask(kafka_servers, made, talk)
    check_logs(kafka_servers, made)
    done = "two clients, the worker paused until they ask again"
    record("events sent again", done, 2, "each event is in the history once")


@pytest.mark.parametrize("by_start", [True, False], ids=["handles of starts", "handles of the id"])
def test_terminations_of_two_clients_end_no_run_of_another(
    kafka_servers: str, made: str, worker: WorkerProcess, by_start: bool
) -> None:
    """Both are sent again when another client has started the same workflow id once more.

    The handle of a start means its own chain, which is over for the first client; any other handle
    means the latest run, which is the same one for both.
    """
    requests = Requests(kafka_servers, made)

    async def talk(first: Client) -> None:
        await first_answer(first)
        async with AsyncExitStack() as stack:
            one, two, three = await clients(stack, kafka_servers, made, 3)
            replaced = await one.start(collects, 1, id=ID)
            ended = await two.start(collects, 1, id=ID, conflict="terminate")
            mine, theirs = (replaced, ended) if by_start else (one.handle(ID), two.handle(ID))
            asked: list[Callable[[], Awaitable[Any]]] = [
                lambda: mine.terminate("by one"),
                lambda: theirs.terminate("by two"),
                lambda: three.start(collects, 1, id=ID),
            ]
            by_one, by_two, begun = await while_paused(worker, requests, asked)
            if by_start:
                assert isinstance(by_one, WorkflowNotFound), by_one
            else:
                assert isinstance(by_one, bool), by_one
            assert isinstance(by_two, bool), by_two
            assert isinstance(begun, Handle)
            assert [await described(one, each.run_id) for each in (replaced, ended, begun)] == [
                (Status.TERMINATED, f"replaced by run {ended.run_id}"),
                (Status.TERMINATED, "by two" if by_start else "by one"),
                (Status.RUNNING, None),
            ]
            await begun.raise_event("passed", 7)
            assert await begun.result(30) == [7]

    ask(kafka_servers, made, talk)
    runs = [run_id for reading in check_logs(kafka_servers, made) for run_id in reading.runs]
    assert len(runs) == 3, "each start counted once"
    done = "by two clients, the worker paused, a new run queued behind them"
    record("terminations sent again", done, 2, "the new run goes on to its result")


@pytest.mark.parametrize("paused", [False, True], ids=["answered", "worker paused"])
@pytest.mark.parametrize("kafka", [{}, {"producer": "librdkafka"}], ids=["ours", "librdkafka"])
def test_a_request_whose_acknowledgement_is_lost_counts_once(
    breakable: OwnBroker,
    namespace: str,
    start_worker: StartWorker,
    kafka: dict[str, Any],
    paused: bool,
) -> None:
    """The broker has the request, and the connection ends before its client hears that.

    The connection's client sends it again; ours does as well where no answer comes.
    """
    prepare(breakable.servers, namespace)
    network, servers = breakable.network, breakable.servers
    worker = start_worker(servers, 0)
    requests = Requests(servers, namespace)

    async def talk(first: Client) -> None:
        await first_answer(first)
        async with Client(
            breakable.proxied, namespace=namespace, kafka=kafka, settings=PATIENT
        ) as client:
            handle = await client.start(collects, 2, id=ID)
            if paused:
                worker.signal(signal.SIGSTOP)
            try:
                network.withhold_answers()
                asking = asyncio.ensure_future(handle.raise_event("passed", 1))
                await requests.arrive(2)
                connections = network.connections
                network.cut()
                network.mend()
                if paused:
                    await requests.arrive(2, again=True)
            finally:
                worker.signal(signal.SIGCONT)
            await asking
            assert network.connections > connections, "it had to connect again"
            assert await passed(handle) == [1]
            await handle.raise_event("passed", 2)
            assert await handle.result(30) == [1, 2]
            assert await passed(handle) == [1, 2]

    ask(servers, namespace, talk)
    check_logs(servers, namespace)
    copies = [copy.again for copy in list(requests.sent().values())[1]]
    assert copies[0] is False
    assert (True in copies) == paused, "our client sends again what a broker has acknowledged"
    assert copies.count(False) == (1 if not kafka else 2), "librdkafka's is not idempotent here"
    record(
        "an acknowledgement lost",
        f"the client's connections cut behind the request ({'librdkafka' if kafka else 'ours'}"
        f"{', the worker paused' if paused else ''})",
        1,
        f"of {len(copies)} copies one counts",
    )


async def passed(handle: Handle[Any]) -> list[int]:
    """Return the values of the events that the run has, in order of value."""
    history = await handle.history()
    return sorted(each.fields["payload"] for each in history if each.type == "EventReceived")


async def described(client: Client, run_id: str | None) -> tuple[Status, str | None]:
    """Return how a run stands, and why it was ended."""
    run = await client.handle(ID, run_id).describe()
    return run.status, run.cancel_reason
