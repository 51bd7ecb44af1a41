"""Requests of clients, against a tiny stand-in for the shards."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from processor.client.descriptions import description, read
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.data.cause import Cause, ClientRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun
from processor.core.operation import Operation, Request
from processor.core.questions import DescribeRun, ListRuns
from processor.core.records.answers import Accepted, Closed, HeartbeatSeen, Page, Refused, ReplyBody
from processor.core.records.effects import Reply
from processor.core.records.turn import Positions
from processor.dev.local_broker import free_port
from processor.errors import (
    CommandRejected,
    PayloadTooLarge,
    ProcessorError,
    SchemaMismatch,
    ShardUnavailable,
    TopicsNotReady,
)
from processor.failures import refusal
from processor.kafka.clients.connection import KafkaSettings, partition_of
from processor.kafka.clients.producing import Producing
from processor.kafka.gateway import KafkaGateway

from .harness import PARTITIONS, Adapters, id_on, start


class FakeShards:
    """Answers each command with its partition and how often it was asked.

    ``asked`` has the commands of each request, by the client and its number.
    """

    def __init__(self, kafka: Adapters) -> None:
        self._ports = [kafka.open(partition) for partition in range(PARTITIONS)]
        self.asked: dict[tuple[str, int], list[ClientCommand]] = {}
        self.silent_times = 0
        for ports in self._ports:
            ports.inbox.open(Positions())

    async def serve(self) -> None:
        while True:
            for partition, ports in enumerate(self._ports):
                for record in ports.inbox.take(100):
                    command = record.input
                    assert isinstance(command, ClientCommand)
                    assert command.reply_to is not None
                    request = command.reply_to.client, command.reply_to.request
                    asked = self.asked.setdefault(request, [])
                    asked.append(command)
                    if len(asked) > self.silent_times:
                        told = f"{partition}-{len(asked)}"
                        is_change = isinstance(command.body, Operation)
                        body = Accepted(told) if is_change else Page(told.encode())
                        ports.outbox.reply(Reply(command.reply_to, body))
            await asyncio.sleep(0.0005)


@asynccontextmanager
async def gateway(kafka: Adapters, settings: Settings | None = None) -> AsyncIterator[KafkaGateway]:
    made = KafkaGateway(kafka.connection, settings or Settings())
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def test_a_request_comes_back_from_the_shard_of_its_workflow(kafka: Adapters) -> None:
    async def test() -> None:
        shards = FakeShards(kafka)
        serving = asyncio.create_task(shards.serve())
        async with gateway(kafka) as first, gateway(kafka) as second:
            assert first.partitions == PARTITIONS
            answers = await asyncio.gather(
                *(
                    (first, second)[n % 2].request(start(f"order-{n}"), timeout_s=10)
                    for n in range(200)
                )
            )
            assert set(answers) == {Accepted(f"{p}-1") for p in range(PARTITIONS)}
            page = await first.request(ClientCommand("", ListRuns()), timeout_s=10, partition=3)
            assert page == Page(b"3-1")
            times = []
            for _ in range(50):
                begun = time.perf_counter()
                await first.request(ClientCommand("w", DescribeRun()), timeout_s=10)
                times.append(time.perf_counter() - begun)
            print(f"round trip p50 {sorted(times)[25] * 1000:.2f} ms")
        serving.cancel()

    run(test)


@pytest.mark.parametrize("body", [DescribeRun(), RaiseEvent("go")], ids=["read", "change"])
def test_a_request_is_sent_again_until_it_is_answered(kafka: Adapters, body: Request) -> None:
    async def test() -> None:
        shards = FakeShards(kafka)
        shards.silent_times = 2
        serving = asyncio.create_task(shards.serve())
        async with gateway(kafka, Settings(request_timeout_s=0.4)) as it:
            answer = await it.request(ClientCommand("w", body), timeout_s=10)
            assert isinstance(answer, Accepted if isinstance(body, RaiseEvent) else Page)
            [((client, number), asked)] = shards.asked.items()
            assert len(asked) >= 3 and number == 1, "the same request each time"
            cause = ClientRequest(client, 1) if isinstance(body, RaiseEvent) else None
            assert {each.cause for each in asked} == {cause}
            assert {each.body for each in asked} == {body}
            assert not asked[0].again, "it was new to everybody"
            assert all(each.again for each in asked[1:]), "a broker had it before"
        serving.cancel()

    run(test)


def test_changes_are_numbered_for_each_shard_and_reads_are_not(kafka: Adapters) -> None:
    async def test() -> None:
        shards = FakeShards(kafka)
        serving = asyncio.create_task(shards.serve())
        async with gateway(kafka) as first, gateway(kafka) as second:
            for round in range(3):
                for each in (first, second):
                    for partition in range(PARTITIONS):
                        workflow_id = id_on(partition, round)
                        await each.request(start(workflow_id), timeout_s=10)
                        await each.request(ClientCommand(workflow_id, DescribeRun()), timeout_s=10)
        serving.cancel()
        numbers: dict[tuple[str, int], list[Cause | None]] = {}
        for (client, _), asked in shards.asked.items():
            for command in asked:
                if isinstance(command.body, StartRun):
                    place = client, partition_of(command.workflow_id, PARTITIONS)
                    numbers.setdefault(place, []).append(command.cause)
                else:
                    assert command.cause is None
        assert len(numbers) == 2 * PARTITIONS
        for (client, _), causes in numbers.items():
            assert causes == [ClientRequest(client, number) for number in (1, 2, 3)]

    run(test)


def test_silence_ends_with_what_is_known(kafka: Adapters) -> None:
    async def test() -> None:
        async with gateway(kafka) as it:
            begun = time.monotonic()
            with pytest.raises(ShardUnavailable, match=r"shard 2 .*the broker has the command"):
                await it.request(start("w"), timeout_s=3, partition=2)
            assert 3 <= time.monotonic() - begun < 15
            waiting = asyncio.create_task(it.request(start("w"), timeout_s=30))
            await asyncio.sleep(0.05)
        with pytest.raises(ProcessorError, match="the client was closed"):
            await waiting

    run(test)


def test_a_command_that_cannot_fit_is_refused_before_it_is_sent(kafka: Adapters) -> None:
    async def test() -> None:
        async with gateway(kafka) as it:
            command = ClientCommand("w", StartRun("order", os.urandom(2_000_000)))
            with pytest.raises(PayloadTooLarge, match="2,000,000"):
                await it.request(command, timeout_s=5)

    run(test)


def test_a_namespace_without_topics_and_an_address_without_a_broker(kafka_servers: str) -> None:
    async def test() -> None:
        nowhere = KafkaGateway(KafkaSettings(kafka_servers, "nowhere"), Settings())
        with pytest.raises(TopicsNotReady, match="processor topics apply --namespace nowhere"):
            await nowhere.start()
        await nowhere.close()
        nobody = KafkaGateway(KafkaSettings(f"127.0.0.1:{free_port()}"), Settings())
        with pytest.raises(ShardUnavailable, match="No Kafka broker answered"):
            await nobody.start()
        await nobody.close()

    run(test)


def test_a_client_outside_of_its_time_or_loop_is_told_so(kafka: Adapters) -> None:
    made = KafkaGateway(kafka.connection, Settings())

    async def refused(error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            await made.request(start("w"), timeout_s=1)
        with pytest.raises(error, match=text):
            _ = made.partitions

    async def before() -> None:
        await refused(ProcessorError, "not connected")
        await made.start()

    async def after() -> None:
        await refused(ProcessorError, "another event loop")
        await made.close()
        await refused(ProcessorError, "the client was closed")
        assert made._producing.made is None, "no producer was made again"

    run(before)
    run(after)


def test_commands_that_no_broker_takes_are_bounded(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with gateway(kafka) as it:
            await asyncio.gather(*(_silent(it.request(start("w"), timeout_s=0.1)) for _ in "123"))
            while len(it._settled) < 3:
                await asyncio.sleep(0.01)
            monkeypatch.setattr(Producing, "flush", lambda self: None)
            monkeypatch.setattr("processor.kafka.gateway._KEPT_MAX", 3)
            for _ in range(3):
                with pytest.raises(ShardUnavailable, match="no Kafka broker"):
                    await it.request(start("w"), timeout_s=0.01)
            begun = time.monotonic()
            with pytest.raises(ShardUnavailable, match=r"3 commands of .* this one was not sent"):
                await it.request(start("w"), timeout_s=10)
            assert time.monotonic() - begun < 8, "it is not waited for"
            monkeypatch.undo()
            it._flush()
            await asyncio.sleep(0.5)
            with pytest.raises(ShardUnavailable, match="the broker has the command"):
                await it.request(start("w"), timeout_s=4)

    run(test)


async def _silent(request: Awaitable[object]) -> None:
    with suppress(ShardUnavailable):
        await request


FORGED: list[ReplyBody] = [
    Closed("r", "banana"),
    Closed("r", "failed"),
    Closed("r", "running"),
    Page(b"[1]"),
    HeartbeatSeen("r", 1, 1, True),
]


@pytest.mark.parametrize("forged", FORGED)
def test_a_reply_that_does_not_fit_is_dropped(
    kafka: Adapters, forged: ReplyBody, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with gateway(kafka) as it:
            asked = asyncio.create_task(it.request(start("w"), timeout_s=10))
            await asyncio.sleep(0.05)
            [number] = it._waiting
            to = ReplyTo(0, "c", number)
            it._resolve([Reply(to, forged), Reply(to, forged), Reply(to, Accepted("run"))])
            assert await asked == Accepted("run")

    run(test)
    assert caplog.text.count("does not fit what was asked") == 1


@pytest.mark.parametrize("error", ["", "annotations", "__name__", "SystemExit"])
def test_an_error_that_no_shard_names_is_a_rejection(error: str) -> None:
    assert type(refusal(Refused(error, "why"))) is CommandRejected


@pytest.mark.parametrize("content", [b"no json", b"[1]", b"{}", b"\xff"])
def test_a_page_that_no_shard_gives_is_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(SchemaMismatch, match="none that a shard gives"):
        read(Page(content), description, JsonPayloads())
