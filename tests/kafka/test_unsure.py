"""A publisher that cannot know: nothing is published twice, lost, or waited for in vain."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from processor.kafka.publishing import transactions as publishing
from processor.node.publishing.faults import PublishingFailed
from processor.node.publishing.steps import Standing

from .harness import Adapters, nobodys, until
from .test_publisher import Owner, ids, is_done, result, results


def test_a_shard_that_was_lost_is_not_waited_for(kafka: Adapters) -> None:
    """Its takeover runs on a thread that the process would else never get back."""
    group, _ = nobodys(kafka.connection)
    owner = Owner(kafka, standing=lambda: Standing(group, {}))
    outcome: list[str] = []

    def begin() -> None:
        try:
            owner.publisher.begin()
        except PublishingFailed as error:
            outcome.append(error.fault.kind)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join(20)
    waited = thread.is_alive()
    owner.die()
    thread.join(20)
    assert outcome == ["not ours"] and not waited


@pytest.mark.parametrize("took_place", [True, False])
def test_after_a_commit_of_unknown_outcome_each_result_is_there_once(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch, took_place: bool
) -> None:
    """Whether it took place stands in the committed position, and nowhere else."""
    armed = threading.Event()

    class Unsure(Producer):
        def commit_transaction(self, *arguments: Any) -> None:
            unsure = armed.is_set()
            armed.clear()
            if took_place or not unsure:
                super().commit_transaction(*arguments)
            if unsure:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer"))

    monkeypatch.setattr(publishing, "Producer", Unsure)
    owner = Owner(kafka)
    assert owner.publisher.begin() == 0
    owner.publisher.publish(1, [result(1)])
    until(lambda: is_done(owner), "a commit that is known")
    armed.set()
    owner.publisher.publish(2, [result(2)])
    until(lambda: not armed.is_set(), "a commit of which nobody heard")
    owner.publisher.publish(3, [result(3)])
    until(lambda: is_done(owner), "everything")
    assert results(kafka, 3) == ids(1, 2, 3)
    owner.die()


def test_a_call_that_never_returns_stops_nothing(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As librdkafka's does when the connection to the group's coordinator breaks in between."""
    armed, never = threading.Event(), threading.Event()
    stuck: list[object] = []

    class Stuck(Producer):
        def send_offsets_to_transaction(self, *arguments: Any) -> None:
            if armed.is_set() and not stuck:
                stuck.append(arguments)
                never.wait()
            super().send_offsets_to_transaction(*arguments)

    monkeypatch.setattr(publishing, "_OFFSETS_S", 3.0)
    monkeypatch.setattr(publishing, "Producer", Stuck)
    first = Owner(kafka)
    assert first.publisher.begin() == 0
    armed.set()
    first.publisher.publish(5, [result(5)])
    until(lambda: bool(stuck), "the call")
    first.publisher.publish(6, [result(6)])
    until(lambda: is_done(first), "everything is published all the same")
    never.set()
    assert results(kafka, 2) == ids(5, 6)
    first.die()
