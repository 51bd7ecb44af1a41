"""The look-up on a real broker: any process answers for all, whatever is killed or deleted."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from processor import Client, ProcessorError
from processor.kafka.clients.connection import KafkaSettings, partition_of
from processor.kafka.topics.upkeep import apply, plan
from processor.views.stream.lookup.rebuild import rebuild
from tests.kafka.conftest import PARTITIONS
from tests.kafka.feeding import LOOKUP_TOKEN, FeederProcess, LookupProcess
from tests.kafka.probes import collects, queued_double
from tests.kafka.processes import StartWorker, at_work
from tests.kafka.talking import PATIENT
from tests.kafka.test_views import until

StartLookup: TypeAlias = Callable[..., LookupProcess]

IDS = [*(f"order-{number}" for number in range(12)), "größe 7", "注文/1", "a%2Fb", "🧾?x=1#y"]


@pytest.fixture
def topics(admin: AdminClient, made: str) -> None:
    apply(admin, plan(admin, made, PARTITIONS, 1, optional=["lookup"]))


@pytest.fixture
def lookups(kafka_servers: str, made: str, tmp_path: Path) -> Iterator[StartLookup]:
    started: list[LookupProcess] = []

    def start(slot: int = 0, *how: str) -> LookupProcess:
        lookup = LookupProcess(kafka_servers, made, tmp_path, slot, *how)
        started.append(lookup)
        lookup.start()
        return lookup

    yield start
    for lookup in started:
        lookup.end()


def found(lookup: LookupProcess, id: str) -> dict[str, Any]:
    answer = lookup.answered(f"/instances/{quote(id, safe='')}")
    return {} if answer is None else {"http": answer.status_code, **answer.json()}


def lag(*lookups: LookupProcess) -> dict[int, int | None]:
    told = [lookup.answered("/lag") for lookup in lookups]
    parts = [each for answer in told if answer is not None for each in answer.json()["partitions"]]
    return {each["partition"]: each["lag"] for each in parts}


def caught_up(*lookups: LookupProcess) -> bool:
    found = lag(*lookups)
    return len(found) == PARTITIONS and not any(each is None or each for each in found.values())


def statuses(lookup: LookupProcess) -> dict[str, Any]:
    return {id: found(lookup, id).get("status") for id in IDS}


def tells(lookup: LookupProcess, wanted: dict[str, str], what: str) -> None:
    until(lambda: statuses(lookup) == wanted, what)


def begin(servers: str, namespace: str, worker: Any) -> None:
    async def main() -> None:
        await at_work(worker)
        async with Client(servers, namespace=namespace, settings=PATIENT) as client:
            for id in IDS:
                await client.start(collects, 1, id=id)

    asyncio.run(main())


def end(servers: str, namespace: str, *ids: str) -> None:
    async def main() -> None:
        async with Client(servers, namespace=namespace, settings=PATIENT) as client:
            for id in ids:
                handle = client.handle(id)
                await handle.raise_event("passed", 1)
                await handle.result(60)

    asyncio.run(main())


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("topics")
def test_any_process_answers_for_all_and_a_standby_takes_over(
    kafka_servers: str,
    made: str,
    start_worker: StartWorker,
    lookups: StartLookup,
    tmp_path: Path,
) -> None:
    worker = start_worker(kafka_servers, 0)
    begin(kafka_servers, made, worker)
    auth, hashed = tmp_path / "auth.toml", sha256(LOOKUP_TOKEN.encode()).hexdigest()
    auth.write_text(f'[[tokens]]\nname = "ada"\nsha256 = "{hashed}"\nroles = ["viewer"]\n')
    first, second = (lookups(slot, "--auth", str(auth)) for slot in (0, 1))
    both = (first, second)
    until(lambda: bool(lag(first)) and bool(lag(second)) and caught_up(*both), "both have a share")
    for lookup in both:
        tells(lookup, dict.fromkeys(IDS, "running"), "it knows all")
        owners = {found(lookup, id)["answered_by"] for id in IDS}
        assert owners == {first.url, second.url}
    for refused, headers in ((401, {"authorization": "Bearer other"}), (421, {"host": "evil"})):
        answer = first.answered(f"/instances/{IDS[0]}", **headers)
        assert answer is not None and answer.status_code == refused
    shown = found(first, IDS[0])
    assert shown["partition"] == partition_of(IDS[0], PARTITIONS)
    assert (shown["workflow"], shown["closed"], shown["problem"]) == ("collects", None, None)
    missing = found(first, "nobody")
    assert missing["http"] == 404
    assert "no run of 'nobody' is known, 0 records behind" in missing["detail"]
    end(kafka_servers, made, *IDS[:6])
    ended = {id: "completed" if id in IDS[:6] else "running" for id in IDS}
    for lookup in both:
        tells(lookup, ended, "it knows how they ended")
    second.kill()
    until(lambda: len(lag(first)) == PARTITIONS and statuses(first) == ended, "the first has all")
    second.start()
    until(lambda: bool(lag(second)) and caught_up(*both), "the second has its share again")
    assert statuses(second) == ended
    assert first.stop() == 0
    assert not re.search(r"ERROR +processor", first.log)  # Faust complains of a busy machine


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("topics")
def test_what_is_deleted_is_made_again(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    start_worker: StartWorker,
    lookups: StartLookup,
) -> None:
    worker = start_worker(kafka_servers, 0)
    begin(kafka_servers, made, worker)
    lookup = lookups(0)
    running = dict.fromkeys(IDS, "running")
    tells(lookup, running, "it knows all")
    connection = KafkaSettings(kafka_servers, made)
    with pytest.raises(ProcessorError, match="1 processes serve the look-up"):
        rebuild(connection)
    assert lookup.stop() == 0

    shutil.rmtree(lookup.views_dir)
    lookup.start()
    tells(lookup, running, "the changelog has all")
    assert lookup.stop() == 0

    rebuild(connection)
    lookup.start()
    tells(lookup, running, "the log has all")
    assert lookup.stop() == 0

    topic = connection.topic("lookup")
    admin.delete_topics([topic])[topic].result(30)
    until(lambda: topic not in admin.list_topics(timeout=10).topics, "it is gone")
    lookup.start()
    assert lookup.ended() != 0
    assert "processor topics apply --lookup" in lookup.log
    apply(admin, plan(admin, made, PARTITIONS, 1, optional=["lookup"]))
    lookup.start()
    tells(lookup, running, "the log has all, and nothing of before is used")
    assert lookup.stop() == 0


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("topics")
def test_what_is_damaged_is_made_again(
    kafka_servers: str, made: str, start_worker: StartWorker, lookups: StartLookup
) -> None:
    begin(kafka_servers, made, start_worker(kafka_servers, 0))
    lookup = lookups(0)
    running = dict.fromkeys(IDS, "running")
    tells(lookup, running, "it knows all")
    other = lookups(1, "--web", lookup.url.removeprefix("http://"))
    assert other.ended() != 0
    assert f"cannot listen on {lookup.url}, where another process does: give" in other.log
    assert lookup.stop() == 0
    for times, files in enumerate(("nothing", "CURRENT", "*.sst")):
        for file in lookup.views_dir.rglob(f"instances-*.db/{files}"):
            whole = file.read_bytes()
            file.write_bytes(bytes(byte ^ 1 for byte in whole[:100]) + whole[100:])
        lookup.start()
        tells(lookup, running, "it knows all")
        assert lookup.stop() == 0
        told = lookup.log.count("dropped and made anew: they cannot be read (Corruption")
        assert told == times, files
        lookup.start()  # what was written is in a table now, and not in the log of writes alone
        tells(lookup, running, "it knows all")
        assert lookup.stop() == 0


@pytest.mark.timeout(600)
def test_a_changelog_that_cannot_be_used_ends_the_look_up_and_not_the_rows(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    start_worker: StartWorker,
    lookups: StartLookup,
    tmp_path: Path,
) -> None:
    worker = start_worker(kafka_servers, 0)
    feeder = FeederProcess(kafka_servers, made, tmp_path)
    feeder.start()
    try:
        missing = lookups(0)
        assert missing.ended() != 0
        assert f"topic {made}.lookup, the changelog of the look-up, does not exist" in missing.log
        topic = f"{made}.lookup"
        admin.create_topics([NewTopic(topic, PARTITIONS + 1, 1)])[topic].result(30)
        other = lookups(1)
        assert other.ended() != 0
        assert f"has {PARTITIONS + 1} partitions, and the log has {PARTITIONS}" in other.log

        async def main() -> None:
            await at_work(worker)
            async with Client(kafka_servers, namespace=made, settings=PATIENT) as client:
                await (await client.start(queued_double, 1, id="a")).result(60)
            until(lambda: "up to date" in feeder.log, "the rows are up to date")
            async with Client(kafka_servers, namespace=made, views_dir=feeder.views_dir) as client:
                assert (await client.count("status = 'completed'")).count == 1

        asyncio.run(main())
    finally:
        feeder.end()
