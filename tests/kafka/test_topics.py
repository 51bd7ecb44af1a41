"""Topics of a namespace on a real broker: made, changed and checked."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from processor.dev.local_broker import free_port
from processor.errors import TopicsNotReady
from processor.kafka.topics.specs import expand
from processor.kafka.topics.upkeep import (
    AlterTopic,
    BrokerUnreachable,
    CreateTopic,
    Finding,
    PartitionMismatch,
    TopicState,
    apply,
    audit,
    check,
    connect,
    load_specs,
    missing_or_wrong,
    plan,
    read_topics,
    topic_name,
)

CO_PARTITIONED = {"commands", "activity-results", "timers", "events"}


def make_namespace(admin: AdminClient, namespace: str, partitions: int = 3) -> None:
    apply(admin, plan(admin, namespace, partitions, 1))


def set_config(admin: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    request = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([request]).values():
        future.result()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if read_topics(admin, [topic])[topic].configs[name] == value:
            return
    pytest.fail(f"{topic} never showed {name}={value}")


def await_topics(admin: AdminClient, *topics: str, there: bool = True) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if len(read_topics(admin, topics)) == (len(topics) if there else 0):
            return
    pytest.fail(f"{topics} did not {'appear' if there else 'vanish'}")


def found(findings: list[Finding], severity: str, word: str) -> list[str]:
    return [f.topic for f in findings if f.severity == severity and word in f.problem]


# ---- specifications, without a broker


def test_specifications_are_complete() -> None:
    specs = {spec.name: spec for spec in load_specs()}
    assert set(specs) == CO_PARTITIONED | {
        *("activities", "results", "replies", "dead-letters", "connect-retries", "lookup")
    }
    assert {name for name, spec in specs.items() if spec.co_partitioned} == CO_PARTITIONED
    assert [name for name, spec in specs.items() if spec.template] == ["activities"]
    assert [name for name, spec in specs.items() if spec.optional] == ["lookup"]
    assert [n for n, s in specs.items() if s.cleanup_policy == "compact"] == ["events", "lookup"]
    assert int(specs["events"].configs["min.compaction.lag.ms"]) >= 3_600_000
    assert all(spec.key and spec.schemas and spec.why for spec in specs.values())


def test_each_queue_has_a_topic() -> None:
    names = expand("shop", ["default", "gpu"])
    assert {"shop.activities.default", "shop.activities.gpu"} < set(names)
    assert "shop.activities" not in names
    assert "shop.lookup" not in names


def test_an_optional_topic_is_there_for_those_who_ask_for_it() -> None:
    asked = expand("shop", ["default"], ["lookup"])
    assert set(asked) == {*expand("shop", ["default"]), "shop.lookup"}
    (finding,) = audit("ns", expand("ns", ["default"], ["lookup"]), safe_states())
    assert (finding.topic, finding.remedy.endswith(" --lookup")) == ("ns.lookup", True)


@pytest.mark.parametrize("namespace", ["", "a b", "größe", "x" * 250])
def test_names_that_kafka_refuses_are_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match="topic"):
        topic_name(namespace, "events")


def safe_states() -> dict[str, TopicState]:
    return {
        topic: TopicState(4, 3, {**spec.configs, "min.insync.replicas": "2"})
        for topic, spec in expand("ns", ["default"]).items()
    }


def audited(topic: str, **configs: str) -> list[Finding]:
    states = safe_states()
    state = states[topic]
    states[topic] = replace(state, configs={**state.configs, **configs})
    return audit("ns", expand("ns", ["default"]), states)


def test_a_safe_namespace_has_no_findings() -> None:
    assert audited("ns.events") == []


@pytest.mark.parametrize(
    ("severity", "topic", "config", "value"),
    [
        ("error", "ns.events", "cleanup.policy", "delete"),
        ("error", "ns.events", "cleanup.policy", "compact,delete"),
        ("error", "ns.events", "max.message.bytes", "1048588"),
        ("error", "ns.events", "min.insync.replicas", "4"),
        ("warning", "ns.events", "min.compaction.lag.ms", "0"),
        ("warning", "ns.events", "delete.retention.ms", "86400000"),
        ("warning", "ns.commands", "min.insync.replicas", "1"),
        ("warning", "ns.commands", "retention.ms", "1000"),
        ("warning", "ns.timers", "unclean.leader.election.enable", "true"),
    ],
)
def test_each_unsafe_config_is_found(severity: str, topic: str, config: str, value: str) -> None:
    (finding,) = audited(topic, **{config: value})
    assert (finding.severity, finding.topic) == (severity, topic)
    assert config in finding.problem
    assert finding.remedy


@pytest.mark.parametrize(
    ("topic", "config", "value"),
    [
        ("ns.commands", "retention.ms", "-1"),
        ("ns.events", "min.compaction.lag.ms", "7200000"),
        ("ns.events", "max.message.bytes", "33554432"),
        ("ns.results", "retention.ms", "1000"),
    ],
)
def test_what_is_safer_or_the_users_own_is_left_alone(topic: str, config: str, value: str) -> None:
    assert audited(topic, **{config: value}) == []


def test_configs_that_cannot_be_read_are_a_warning() -> None:
    states = safe_states()
    states["ns.events"] = TopicState(4, 3, unreadable="authorization failed")
    (finding,) = audit("ns", expand("ns", ["default"]), states)
    assert finding.severity == "warning"
    assert "authorization failed" in finding.problem


# ---- on the broker


def test_nobody_answers() -> None:
    start = time.monotonic()
    with pytest.raises(BrokerUnreachable, match="No Kafka broker answered at"):
        connect(f"127.0.0.1:{free_port()}")
    assert time.monotonic() - start < 20


def test_plan_apply_check(admin: AdminClient, namespace: str) -> None:
    changes = plan(admin, namespace, 3, 1, ["default", "gpu"])
    assert all(isinstance(change, CreateTopic) for change in changes)
    assert {change.topic for change in changes} == set(expand(namespace, ["default", "gpu"]))
    assert len(missing_or_wrong(admin, namespace)) == 9
    apply(admin, changes)
    apply(admin, changes)  # somebody else was faster: nothing to complain about
    assert plan(admin, namespace, 3, 1, ["default", "gpu"]) == []
    assert missing_or_wrong(admin, namespace, ["default", "gpu"]) == []
    states = read_topics(admin, expand(namespace, ["default"]))
    assert states[f"{namespace}.events"].partitions == 3
    assert states[f"{namespace}.dead-letters"].partitions == 1
    assert states[f"{namespace}.replies"].configs["retention.ms"] == "600000"


def test_a_missing_topic_is_named_with_the_command_that_makes_it(
    admin: AdminClient, namespace: str
) -> None:
    make_namespace(admin, namespace)
    (finding,) = missing_or_wrong(admin, namespace, ["default", "gpu"])
    assert finding.topic == f"{namespace}.activities.gpu"
    assert f"processor topics apply --namespace {namespace} --partitions 3" in finding.remedy


def test_one_replica_is_found(admin: AdminClient, namespace: str) -> None:
    make_namespace(admin, namespace)
    assert f"{namespace}.events" in found(check(admin, namespace), "warning", "replication is 1")


def test_unsafe_configs_are_found_and_repaired(admin: AdminClient, namespace: str) -> None:
    make_namespace(admin, namespace)
    events, commands = f"{namespace}.events", f"{namespace}.commands"
    set_config(admin, events, "cleanup.policy", "delete")
    set_config(admin, events, "max.message.bytes", "1000000")
    set_config(admin, events, "min.compaction.lag.ms", "0")
    set_config(admin, commands, "unclean.leader.election.enable", "true")
    findings = check(admin, namespace)
    assert found(findings, "error", "cleanup.policy") == [events]
    assert found(findings, "error", "max.message.bytes") == [events]
    assert found(findings, "warning", "min.compaction.lag.ms") == [events]
    assert found(findings, "warning", "unclean.leader.election.enable") == [commands]
    assert len(missing_or_wrong(admin, namespace)) == 2

    changes = plan(admin, namespace, 3, 1)
    assert {type(change) for change in changes} == {AlterTopic}
    apply(admin, changes)
    assert plan(admin, namespace, 3, 1) == []
    assert missing_or_wrong(admin, namespace) == []


def test_the_users_own_configs_survive(admin: AdminClient, namespace: str) -> None:
    make_namespace(admin, namespace)
    set_config(admin, f"{namespace}.results", "retention.ms", "1000")
    set_config(admin, f"{namespace}.events", "segment.ms", "60000")
    assert plan(admin, namespace, 3, 1) == []


def test_another_partition_count_is_a_problem_and_changes_nothing(
    admin: AdminClient, namespace: str
) -> None:
    make_namespace(admin, namespace, partitions=2)
    changes = plan(admin, namespace, 5, 1, ["default", "new"])
    mismatched = [change for change in changes if isinstance(change, PartitionMismatch)]
    assert {change.topic for change in mismatched} == {f"{namespace}.{t}" for t in CO_PARTITIONED}
    with pytest.raises(TopicsNotReady, match="use --partitions 2"):
        apply(admin, changes)
    assert read_topics(admin, [f"{namespace}.activities.new"]) == {}


def test_topics_that_are_not_co_partitioned_are_found(admin: AdminClient, namespace: str) -> None:
    make_namespace(admin, namespace, partitions=2)
    timers = f"{namespace}.timers"
    for future in admin.delete_topics([timers], operation_timeout=10).values():
        future.result()
    await_topics(admin, timers, there=False)
    spec = expand(namespace, [])[timers]
    wrong = NewTopic(timers, 4, 1, config=dict(spec.configs))
    for future in admin.create_topics([wrong], operation_timeout=10).values():
        future.result()
    await_topics(admin, timers)
    (finding,) = missing_or_wrong(admin, namespace)
    assert finding.topic == timers
    assert "4 partitions where the log has 2" in finding.problem


def test_more_replicas_than_brokers_is_refused(admin: AdminClient, namespace: str) -> None:
    changes = plan(admin, namespace, 1, 9)
    with pytest.raises(TopicsNotReady, match=r"refused.*[Rr]eplication factor"):
        apply(admin, changes)
