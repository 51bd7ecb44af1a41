"""Makes, changes and checks the topics of a namespace.

Three verbs, as in the command line: ``plan`` says what would be done, ``apply`` does it, ``check``
says what is unsafe. Partition counts are never changed: a workflow's partition is the hash of its
id, so that another count would send its next event to a shard that does not know it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from processor.errors import ProcessorError, TopicsNotReady
from processor.kafka.clients.properties import (
    KafkaConfigInvalid,
    check_properties,
    check_servers,
    of_librdkafka,
)
from processor.kafka.topics.specs import TopicSpec, expand, load_specs, topic_name

__all__ = (
    "AlterTopic",
    "BrokerUnreachable",
    "Change",
    "CreateTopic",
    "Finding",
    "KafkaConfigInvalid",
    "PartitionMismatch",
    "TopicSpec",
    "TopicState",
    "apply",
    "audit",
    "check",
    "connect",
    "load_specs",
    "missing_or_wrong",
    "option_for",
    "plan",
    "read_topics",
    "topic_name",
)

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 15.0
DEFAULT_QUEUES = ("default",)

MIN_INSYNC = "min.insync.replicas"
AT_LEAST = frozenset(
    ("delete.retention.ms", "max.message.bytes", "min.compaction.lag.ms", "retention.ms")
)
"""Configs of which more is as good, so that a larger value is left alone; -1 means no limit."""

INTERNAL_TOPICS = ("__consumer_offsets", "__transaction_state")

CONSEQUENCES: Mapping[str, str] = {
    "cleanup.policy": "records that are still needed are removed, or none ever are",
    "delete.retention.ms": "stores that were away for longer must be rebuilt from the whole log",
    "max.message.bytes": "the broker refuses records that a shard has to write",
    "message.timestamp.type": "retention goes by the senders' clocks, and a wrong one is refused",
    "min.compaction.lag.ms": "readers that lag by less than an hour miss records",
    MIN_INSYNC: "an acknowledged record may exist on one broker only and die with it",
    "retention.ms": "records may expire before a shard has read them",
    "unclean.leader.election.enable": "acknowledged records are lost when leaders fail",
}
WORKER_CANNOT_RUN = frozenset(("cleanup.policy", "max.message.bytes"))


class BrokerUnreachable(ProcessorError):
    """No Kafka broker answered under the given addresses."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the brokers have it; ``unreadable`` says why its configs are not known."""

    partitions: int
    replication: int
    configs: Mapping[str, str] = field(default_factory=dict)
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Make a topic that is missing."""

    topic: str
    partitions: int
    replication: int
    configs: Mapping[str, str]

    def __str__(self) -> str:
        return (
            f"create {self.topic} ({self.partitions} partitions, replication {self.replication},"
            f" {listed(self.configs)})"
        )


@dataclass(frozen=True, slots=True)
class AlterTopic:
    """Set configs of a topic that exists; ``before`` are their present values."""

    topic: str
    configs: Mapping[str, str]
    before: Mapping[str, str]

    def __str__(self) -> str:
        return f"alter {self.topic}: {listed(self.configs)} (now {listed(self.before)})"


@dataclass(frozen=True, slots=True)
class PartitionMismatch:
    """A problem that no change can solve: the topic has another partition count."""

    topic: str
    partitions: int
    partitions_wanted: int

    def __str__(self) -> str:
        return (
            f"{self.topic} has {self.partitions} partitions, not {self.partitions_wanted}; a"
            f" count is fixed when the namespace is made: use --partitions {self.partitions},"
            " or another --namespace"
        )


Change = CreateTopic | AlterTopic | PartitionMismatch


@dataclass(frozen=True, slots=True)
class Finding:
    """Something unsafe. An ``error`` keeps workers from running, a ``warning`` risks data."""

    severity: Literal["error", "warning"]
    topic: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.topic}: {self.problem}. {self.remedy}"


def connect(servers: str, extra: Mapping[str, str] | None = None) -> AdminClient:
    """Return a client of the brokers at ``servers``, or fail within 5 s if none answers.

    ``extra`` are librdkafka properties (security, for one). The client alone would wait and
    complain on stderr for ever, which hides a mistyped address.
    """
    check_servers(servers)
    check_properties(extra or {})
    seen: list[str] = []
    refused: list[str] = []

    def told(error: KafkaError) -> None:
        seen.append(error.str())
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            refused.append(error.str())

    config: dict[str, Any] = {
        "bootstrap.servers": servers,
        "client.id": "processor-topics",
        "log_level": 0,
        "error_cb": told,
        **of_librdkafka(extra or {}),
    }
    try:
        admin = AdminClient(config)
    except KafkaException as error:
        raise KafkaConfigInvalid(
            f"the Kafka client does not accept a property ({error.args[0].str()}). Properties are"
            " librdkafka's, whose names are not always those of Java's clients"
        ) from error
    try:
        admin.list_topics(timeout=CONNECT_TIMEOUT_S)
    except KafkaException as error:
        admin.poll(0)
        if refused:
            raise BrokerUnreachable(
                f"No Kafka broker at {servers} lets us in ({refused[0]}). Check security.protocol, "
                "sasl.mechanism, sasl.username, sasl.password and ssl.ca.location, in kafka= or in "
                "the file of --kafka-config, against what the brokers have"
            ) from error
        reason = seen[0] if seen else error.args[0].str()
        raise BrokerUnreachable(
            f"No Kafka broker answered at {servers} within {CONNECT_TIMEOUT_S:.0f} s ({reason})."
            " Check the address and that the broker runs; `processor dev` needs none"
        ) from error
    return admin


def plan(
    admin: AdminClient,
    namespace: str,
    partitions: int,
    replication: int,
    queues: Iterable[str] = DEFAULT_QUEUES,
    optional: Collection[str] = (),
) -> list[Change]:
    """Return what has to change so that the namespace's topics are as specified; maybe nothing."""
    wanted = expand(namespace, queues, optional)
    found = read_topics(admin, wanted)
    changes: list[Change] = []
    for topic, spec in wanted.items():
        state = found.get(topic)
        if state is None:
            changes.append(
                CreateTopic(
                    topic,
                    partitions if spec.partitions is None else spec.partitions,
                    replication,
                    {**spec.configs, MIN_INSYNC: min_insync(replication)},
                )
            )
            continue
        if state.unreadable:
            raise TopicsNotReady(
                f"The configs of {topic} cannot be read ({state.unreadable}); run this as a user"
                " who may DescribeConfigs and AlterConfigs on the namespace's topics"
            )
        if spec.co_partitioned and state.partitions != partitions:
            changes.append(PartitionMismatch(topic, state.partitions, partitions))
        if configs := differences(spec, state):
            before = {name: state.configs.get(name, "") for name in configs}
            changes.append(AlterTopic(topic, configs, before))
    return changes


def apply(admin: AdminClient, changes: Sequence[Change]) -> None:
    """Carry out a plan; with a problem in it, nothing at all is done."""
    if problems := [str(change) for change in changes if isinstance(change, PartitionMismatch)]:
        raise TopicsNotReady("Nothing was changed: " + "; ".join(problems))
    creations = [change for change in changes if isinstance(change, CreateTopic)]
    alterations = [change for change in changes if isinstance(change, AlterTopic)]
    futures: dict[str, Future[Any]] = {}
    if creations:
        futures |= admin.create_topics(
            [
                NewTopic(c.topic, c.partitions, c.replication, config=dict(c.configs))
                for c in creations
            ],
            operation_timeout=REQUEST_TIMEOUT_S,
            request_timeout=REQUEST_TIMEOUT_S,
        )
    if alterations:
        requests = [alteration_request(change) for change in alterations]
        altered = admin.incremental_alter_configs(requests, request_timeout=REQUEST_TIMEOUT_S)
        futures |= {resource.name: future for resource, future in altered.items()}
    failures = [
        f"{topic}: {text}" for topic, future in futures.items() if (text := failure(future))
    ]
    if failures:
        raise TopicsNotReady(
            "Kafka refused a part of the plan: " + "; ".join(failures) + ". What it took is done;"
            " correct the cause and run `processor topics apply` again"
        )
    await_visible(admin, {change.topic: change.partitions for change in creations})


def check(
    admin: AdminClient,
    namespace: str,
    queues: Iterable[str] = DEFAULT_QUEUES,
    optional: Collection[str] = (),
) -> list[Finding]:
    """Return everything that is missing, wrong or unsafe about the namespace's topics."""
    wanted = expand(namespace, queues, optional)
    found = read_topics(admin, (*wanted, *INTERNAL_TOPICS))
    findings = audit(namespace, wanted, found)
    for topic in INTERNAL_TOPICS:
        if topic in found and found[topic].replication == 1:
            findings.append(replication_finding(topic))
    return findings


def missing_or_wrong(
    admin: AdminClient, namespace: str, queues: Iterable[str] = DEFAULT_QUEUES
) -> list[Finding]:
    """Return the findings that a worker cannot run with; it refuses to start on any."""
    return [finding for finding in check(admin, namespace, queues) if finding.severity == "error"]


def audit(
    namespace: str, wanted: Mapping[str, TopicSpec], found: Mapping[str, TopicState]
) -> list[Finding]:
    """Compare the topics that the brokers have with the specifications; no I/O."""
    counts = {t: found[t].partitions for t, s in wanted.items() if s.co_partitioned and t in found}
    events = topic_name(namespace, "events")
    partitions = counts.get(events, max(counts.values(), default=0))
    command = f"processor topics apply --namespace {namespace} --partitions {partitions or 'N'}"
    findings: list[Finding] = []
    for topic, spec in wanted.items():
        state, apply_it = found.get(topic), command + option_for(namespace, topic)
        if state is None:
            findings.append(Finding("error", topic, "the topic is missing", f"Run: {apply_it}"))
            continue
        if topic in counts and state.partitions != partitions:
            findings.append(mismatch_finding(topic, state.partitions, partitions))
        findings += config_findings(topic, spec, state, apply_it)
        if state.replication == 1:
            findings.append(replication_finding(topic))
    return findings


def option_for(namespace: str, topic: str) -> str:
    """Return what is added to `processor topics apply` so that it makes this topic."""
    name = topic.removeprefix(f"{namespace}.")
    for prefix, option in (("activities.", "--queue"), ("replies.", "--replies")):
        if name.startswith(prefix):
            return f" {option} {name.removeprefix(prefix)}"
    optional = {spec.name for spec in load_specs() if spec.optional}
    return f" --{name}" if name in optional else ""


def config_findings(topic: str, spec: TopicSpec, state: TopicState, command: str) -> list[Finding]:
    """Return a finding for each config that is not as specified."""
    if state.unreadable:
        problem = f"its configs cannot be read ({state.unreadable}), so they are not checked"
        return [Finding("warning", topic, problem, "Allow DescribeConfigs on it to this user")]
    findings = []
    for name, value in differences(spec, state).items():
        consequence = CONSEQUENCES.get(name, "the broker does not behave as specified")
        problem = f"{name} is {state.configs.get(name)!r}, not {value!r}: {consequence}"
        severity: Literal["error", "warning"] = "error" if name in WORKER_CANNOT_RUN else "warning"
        findings.append(Finding(severity, topic, problem, f"Run: {command}"))
    if int(state.configs.get(MIN_INSYNC, "1")) > state.replication:
        problem = f"{MIN_INSYNC} is more than its replication of {state.replication}, so that"
        problem += " every write is refused"
        remedy = f"Run: kafka-configs.sh --alter --topic {topic} --delete-config {MIN_INSYNC}"
        findings.append(Finding("error", topic, problem, remedy))
    return findings


def mismatch_finding(topic: str, partitions: int, partitions_wanted: int) -> Finding:
    """Say that one topic's partition count differs from that of its neighbours."""
    return Finding(
        "error",
        topic,
        f"it has {partitions} partitions where the log has {partitions_wanted}: shards would"
        " miss inputs, or wait for inputs that never come",
        "A count cannot be changed under workflows. If the topic holds nothing that you need,"
        f" delete it (kafka-topics.sh --delete --topic {topic}) and run `processor topics apply"
        f" --partitions {partitions_wanted}`; otherwise make a new namespace",
    )


def replication_finding(topic: str) -> Finding:
    """Say that a topic lives on one broker."""
    return Finding(
        "warning",
        topic,
        "its replication is 1: it dies with one broker's disk, and acknowledged work with it",
        "In production, raise it to 3 with kafka-reassign-partitions.sh, then run `processor"
        " topics apply`; a new namespace is made with --replication 3",
    )


def differences(spec: TopicSpec, state: TopicState) -> dict[str, str]:
    """Return the configs that have to be set on a topic, with their values."""
    wanted = {name: spec.configs[name] for name in spec.configs if name not in spec.adjustable}
    result = {
        name: value
        for name, value in wanted.items()
        if not is_satisfied(name, state.configs.get(name), value)
    }
    if state.replication > 1 and int(state.configs.get(MIN_INSYNC, "1")) < 2:
        result[MIN_INSYNC] = "2"
    return result


def is_satisfied(name: str, actual: str | None, wanted: str) -> bool:
    """Tell whether a config's value does what the specification wants."""
    if actual is None or name not in AT_LEAST:
        return actual == wanted
    return int(actual) == -1 or int(actual) >= int(wanted)


def min_insync(replication: int) -> str:
    """Return how many replicas must have a record before it counts as written.

    Two wherever there are two: with one, a record may be acknowledged and exist once.
    """
    return str(min(2, replication))


def read_topics(admin: AdminClient, topics: Iterable[str]) -> dict[str, TopicState]:
    """Return the state of those of the topics that exist."""
    metadata = cluster(admin).topics
    present = {topic: metadata[topic] for topic in topics if is_present(metadata.get(topic))}
    if not present:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in present]
    described = admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
    return {
        resource.name: topic_state(present[resource.name], future)
        for resource, future in described.items()
    }


def topic_state(metadata: TopicMetadata, described: Future[dict[str, ConfigEntry]]) -> TopicState:
    """Return one topic's state from what the broker said about it."""
    partitions = len(metadata.partitions)
    replication = min(len(partition.replicas) for partition in metadata.partitions.values())
    try:
        entries = described.result()
    except KafkaException as error:
        return TopicState(partitions, replication, unreadable=error.args[0].str())
    configs = {name: entry.value for name, entry in entries.items() if entry.value is not None}
    return TopicState(partitions, replication, configs)


def is_present(metadata: TopicMetadata | None) -> bool:
    """Tell whether a topic exists; one that is being deleted has no partitions left."""
    return metadata is not None and metadata.error is None and bool(metadata.partitions)


def cluster(admin: AdminClient) -> ClusterMetadata:
    """Return the cluster's metadata, or say that it went away."""
    try:
        return admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise BrokerUnreachable(
            f"The Kafka brokers stopped answering ({error.args[0].str()}); check that they run"
            " and try again"
        ) from error


def alteration_request(change: AlterTopic) -> ConfigResource:
    """Return the request that sets a topic's configs and leaves all others alone."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in change.configs.items()
    ]
    return ConfigResource(ResourceType.TOPIC, change.topic, incremental_configs=entries)


def await_visible(admin: AdminClient, partitions: Mapping[str, int]) -> None:
    """Wait until every broker's metadata can show new topics, with a leader for each partition.

    The controller has them by now, but the broker that is asked next may not.
    """
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    waiting = set(partitions)
    while waiting and time.monotonic() < deadline:
        metadata = cluster(admin).topics
        waiting = {topic for topic in waiting if not has_leaders(metadata.get(topic))}
        if waiting:
            time.sleep(0.05)
    if waiting:
        raise TopicsNotReady(
            f"Made, but without a leader after {REQUEST_TIMEOUT_S:.0f} s: {sorted(waiting)};"
            " check that all brokers run, then `processor topics check`"
        )


def has_leaders(metadata: TopicMetadata | None) -> bool:
    """Tell whether a topic is there and each of its partitions can be written."""
    if metadata is None or not is_present(metadata):
        return False
    return all(partition.leader >= 0 for partition in metadata.partitions.values())


def failure(future: Future[Any]) -> str | None:
    """Return why a request was refused, or None; a topic that somebody else made is fine."""
    try:
        future.result()
    except KafkaException as error:
        reason = error.args[0]
        return None if reason.name() == "TOPIC_ALREADY_EXISTS" else str(reason.str())
    return None


def listed(configs: Mapping[str, str]) -> str:
    """Return configs as people write them."""
    return ", ".join(f"{name}={value}" for name, value in sorted(configs.items()))
