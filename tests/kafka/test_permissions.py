"""What a worker and a client must be allowed on a broker that allows nothing else."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from processor import Client, Settings, Worker, activity, workflow
from processor.dev.local_broker import HOST, LocalBroker, Quorum, free_ports, new_cluster_id
from processor.errors import ShardUnavailable, TopicsNotReady
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.topics.upkeep import apply, connect, plan
from tests.kafka.feeding import looked_up, up_to_date
from tests.kafka.harness import until
from tests.kafka.own_broker import QUICK, need_jars, short_lived

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse"
MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"
NAMESPACE = "shop"

ROW = re.compile(r"\| ([\w ]+?)(?: \(.+?\))? \| ([\w ]+) \| `([\w.-]+)(\*?)`.* \| ([\w, ]+) \|")


def rules() -> dict[str, list[AclBinding]]:
    """Return what the page allows each user, whose name has - for a space."""
    found: dict[str, list[AclBinding]] = {}
    page = (ROOT / "docs" / "kafka.md").read_text().partition("## Permissions")[2]
    for user, kind, name, is_prefix, operations in ROW.findall(page.partition("\n## ")[0]):
        user = user.replace(" ", "-")
        which = ResourcePatternType.PREFIXED if is_prefix else ResourcePatternType.LITERAL
        what = getattr(ResourceType, kind.upper().replace(" ", "_")), name, which
        for each in operations.split(", "):
            operation = getattr(AclOperation, re.sub(r"(?<!^)(?=[A-Z])", "_", each).upper())
            allowed = AclBinding(*what, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            found.setdefault(user, []).append(allowed)
    return found


class Guarded:
    """``open`` is for the administrator; at ``servers``, users may do what rules allow them."""

    def __init__(self, folder: Path) -> None:
        port, guarded, controller = free_ports(3)
        self.servers, self.open = f"{HOST}:{guarded}", f"{HOST}:{port}"
        users = " ".join(
            f'user_{name}="{PASSWORD}"' for name in (*rules(), "team-b", "describes", "nobody")
        )
        overrides = {
            **QUICK,
            "listeners": f"PLAINTEXT://{HOST}:{port},GUARDED://{HOST}:{guarded},"
            f"CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port},GUARDED://{HOST}:{guarded}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            "GUARDED:SASL_PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.guarded.plain.sasl.jaas.config": f"{MODULE} required {users};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        quorum = Quorum(new_cluster_id(), {1: controller})
        self.broker = LocalBroker(folder / "broker", port, overrides=overrides, quorum=quorum)


def of_user(name: str) -> dict[str, Any]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": name,
        "sasl.password": PASSWORD,
    }


def may_describe(guarded: Guarded) -> None:
    """Allow the user ``describes`` to see topics, and to be in groups."""
    user, prefixed, allow = "User:describes", ResourcePatternType.PREFIXED, AclPermissionType.ALLOW
    topics = ResourceType.TOPIC, "shop.", prefixed, user, "*", AclOperation.DESCRIBE, allow
    groups = ResourceType.GROUP, "shop.", prefixed, user, "*", AclOperation.READ, allow
    admin = connect(guarded.open)
    for future in admin.create_acls([AclBinding(*topics), AclBinding(*groups)]).values():
        future.result(30)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    need_jars()
    cluster = Guarded(tmp_path_factory.mktemp("guarded"))
    with short_lived(), cluster.broker:
        admin = connect(cluster.open)
        bindings = [binding for each in rules().values() for binding in each]
        for future in admin.create_acls(bindings).values():
            future.result()
        yield cluster


@activity.define(queue="slow")
async def doubled(number: int) -> int:
    return number * 2


@workflow.define
async def ships(number: int) -> int:
    await asyncio.sleep(0.01)
    result = await doubled(number)
    workflow.publish("shipped", "a", result)
    return result + await workflow.wait_for_event("more", int)


@workflow.define
async def waits() -> int:
    return await workflow.wait_for_event("go", int)


def test_what_the_page_allows_is_enough(guarded: Guarded, tmp_path: Path) -> None:
    admin = connect(guarded.servers, of_user("administrator"))
    apply(admin, plan(admin, NAMESPACE, 2, 1, ["slow"], ["lookup"]))
    assert plan(admin, NAMESPACE, 2, 1, ["slow"], ["lookup"]) == []
    admin = connect(guarded.open)
    admin.create_topics([NewTopic("shipped", 1, 1)])["shipped"].result(30)
    may_describe(guarded)

    def worker(user: str, **what: Any) -> Worker:
        how = {"namespace": NAMESPACE, "state_dir": tmp_path / user, "kafka": of_user(user)}
        return Worker(guarded.servers, **what, **how)

    async def main() -> None:
        shards = worker("worker", workflows=[ships], queues=[])
        slow = worker("queue-worker", activities=[doubled], queues=["slow"], shards=False)
        client = Client(guarded.servers, namespace=NAMESPACE, kafka=of_user("client"))
        async with asyncio.timeout(150), shards, slow, client:
            handle = await client.start(ships, 1, id="a")
            await handle.raise_event("more", 5)
            assert await handle.result() == 7
            await up_to_date(KafkaSettings(guarded.servers, NAMESPACE, of_user("views")), tmp_path)
            lookup = KafkaSettings(guarded.servers, NAMESPACE, of_user("lookup"))
            assert await looked_up(lookup, tmp_path, "a") == "completed"
            with pytest.raises(TopicsNotReady, match=r"read and write shop\.lookup, the changelog"):
                await looked_up(replace(lookup, extra=of_user("describes")), tmp_path, "a")

    asyncio.run(main())


def may_see(guarded: Guarded, user: str, topic: str) -> bool:
    """Return whether a user may describe a topic, as whoever may read it may."""
    found = connect(guarded.servers, of_user(user)).list_topics(topic, 30).topics[topic]
    if found.error is not None:
        assert found.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    return found.error is None


def joins_the_shards(guarded: Guarded, user: str) -> bool:
    servers = {"bootstrap.servers": guarded.servers, "group.protocol": "consumer"}
    consumer = Consumer({**servers, "group.id": "shop.shards", **of_user(user)})
    consumer.subscribe(["shop.replies"])
    found = consumer.poll(30)
    consumer.close()
    error = None if found is None else found.error()
    return error is None or error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED


def test_a_team_reads_its_own_replies_and_no_others(
    guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    admin = connect(guarded.open)
    apply(admin, plan(admin, NAMESPACE, 2, 1, ["slow"], ["replies.team-a", "replies.team-b"]))
    teams = {"client-of-team-a": "team-a", "team-b": "team-b"}
    literal, topic = ResourcePatternType.LITERAL, ResourceType.TOPIC
    allow, deny = AclPermissionType.ALLOW, AclPermissionType.DENY
    of_b = "User:team-b", "*"
    more = [
        AclBinding(topic, "shop.commands", literal, *of_b, AclOperation.WRITE, allow),
        AclBinding(topic, "shop.replies.team-b", literal, *of_b, AclOperation.READ, allow),
    ]
    for future in admin.create_acls(more).values():
        future.result(30)
    for user, own in teams.items():
        assert not joins_the_shards(guarded, user)
        until(partial(may_see, guarded, user, f"shop.replies.{own}"), f"{user} sees nothing")
        replies = ["shop.replies", "shop.replies.team-a", "shop.replies.team-b"]
        seen = [each for each in replies if may_see(guarded, user, each)]
        assert seen == [f"shop.replies.{own}"]

    def client(user: str, replies: str | None, wait_s: float = 30) -> Client:
        settings = Settings(request_timeout_s=wait_s)
        how = {"namespace": NAMESPACE, "kafka": of_user(user), "settings": settings}
        return Client(guarded.servers, replies=replies, **how)

    async def main() -> None:
        how = {"namespace": NAMESPACE, "state_dir": tmp_path, "kafka": of_user("worker")}
        worker = Worker(guarded.servers, workflows=[waits], queues=[], **how)
        async with asyncio.timeout(90), worker:
            for user, own in teams.items():
                async with client(user, own) as team:
                    handle = await team.start(waits)
                    await handle.raise_event("go", 3)
                    assert await handle.result() == 3
            for name, at in (("team-b", "shop.replies.team-b"), (None, "shop.replies")):
                with pytest.raises(TopicsNotReady, match=rf"no topic {at} .* this user may see"):
                    await client("client-of-team-a", name).__aenter__()
            silent = "shop.replies.team-b", literal, "User:worker", "*", AclOperation.WRITE, deny
            for future in admin.create_acls([AclBinding(topic, *silent)]).values():
                future.result(30)
            async with client("team-b", "team-b", 5) as team:
                told = r"or it may not write to shop\.replies\.team-b: its log says so"
                with pytest.raises(ShardUnavailable, match=told):
                    await team.start(waits)
            assert "the last one to shop.replies.team-b because of:" in caplog.text
            assert "Allow this user Read and Write on the topic" in caplog.text
            blind = "shop.replies.team-a", literal, "User:client-of-team-a", "*"
            async with client("client-of-team-a", "team-a", 10) as team:
                denied = AclBinding(topic, *blind, AclOperation.READ, deny)
                for future in admin.create_acls([denied]).values():
                    future.result(30)
                with pytest.raises(ShardUnavailable, match=r"Its answer cannot be read: .*Allow"):
                    while True:  # until the broker has heard of it
                        await team.start(waits)

    asyncio.run(main())


def test_a_client_cannot_join_the_shards_and_what_is_forbidden_is_said(
    guarded: Guarded, tmp_path: Path
) -> None:
    assert not joins_the_shards(guarded, "client")

    def client(user: str) -> Client:
        settings = Settings(request_timeout_s=5)
        how = {"namespace": NAMESPACE, "kafka": of_user(user), "settings": settings}
        return Client(guarded.servers, **how)

    async def main() -> None:
        with pytest.raises(TopicsNotReady, match=r"no topic shop\.commands .* this user may see"):
            await client("nobody").__aenter__()
        async with client("queue-worker") as reads_only:
            with pytest.raises(ShardUnavailable, match=r"Allow this user .* Write on the topic"):
                await reads_only.start(ships, 1)

    asyncio.run(main())


def test_a_worker_that_may_not_read_the_log_says_so_and_stops_at_once(
    guarded: Guarded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("processor.kafka.shards.log._SILENT_S", 0.5)
    may_describe(guarded)
    said = "Topic authorization failed. Allow this user Read and Write on the topic"

    others = {each.ident for each in threading.enumerate()}

    def takes_over() -> bool:
        ours = [each for each in threading.enumerate() if each.ident not in others]
        return any(each.name.startswith("takeover") for each in ours)

    async def main() -> None:
        how = {"namespace": NAMESPACE, "state_dir": tmp_path, "kafka": of_user("describes")}
        worker = Worker(guarded.servers, workflows=[ships], queues=[], **how)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(60):
            while f"reading shop.events[0]: Fetch from broker 1 failed: Broker: {said}" not in (
                caplog.text
            ):
                await asyncio.sleep(0.05)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            while takes_over():
                await asyncio.sleep(0.05)

    asyncio.run(main())
