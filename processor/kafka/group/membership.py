"""Decides which shards are ours: a consumer group that reads nothing.

Its members subscribe to ``commands`` alone: shard p is ours if and only if commands[p] is assigned
to us. ``activity-results`` and ``timers`` follow, so the inputs are co-partitioned whatever the
assignor does.

The classic protocol with static members, because it was measured: a member that restarts at once
has its shards back in 0.5 s, another process takes a dead one's over in about the session time-out
(6 s); the KIP-848 protocol at broker defaults takes 41 s.

Group membership is about who tries. Who may write is decided by the claim alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import wait as wait_for
from threading import Thread
from time import monotonic
from typing import Any, Literal

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from processor.config import Settings
from processor.errors import ProcessorError
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import forbidding, made
from processor.kafka.group.comeback import Comeback
from processor.kafka.group.static_member import LEAVE_S, METADATA, abandon, is_shut_out, leave
from processor.node.membership import Assignments, Confirmations
from processor.node.publishing.steps import Standing

__all__ = ("MemberFenced", "Membership")

_log = logging.getLogger("processor.kafka")

_POLL_S = 0.1
_REVOKE_S = 5.0
_LOST_S = 0.5
_CONFIRM_S = 5.0


class MemberFenced(ProcessorError):
    """The group shut this process out: another one uses the same instance id."""


class Membership:
    """``assign``, ``revoke`` and ``failed`` are called on ``loop``.

    ``next_command`` tells the offset in ``commands`` that a shard reads next (-1: not known). It
    is committed every few seconds, for the tools that show lag; nobody ever begins there.
    ``came_back``: the process before did not leave the group.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        settings: Settings,
        instance_id: str,
        loop: asyncio.AbstractEventLoop,
        *,
        assign: Callable[[int], None],
        revoke: Callable[[int], Coroutine[Any, Any, None]],
        failed: Callable[[BaseException], None],
        next_command: Callable[[int], int],
        came_back: bool = False,
    ) -> None:
        self._instance_id = instance_id
        self._group = connection.shards_group
        self._topic = connection.topic("commands")
        self._loop = loop
        self._assign = assign
        self._revoke = revoke
        self._failed = failed
        self._assignments = Assignments()
        self._confirmations = Confirmations(_CONFIRM_S, next_command, monotonic())
        self._end: Literal["", "leaves", "stays", "left"] = ""
        self._config = self._consumer_config(connection, settings)
        self._consumer = made(Consumer, self._config)
        self._comeback = Comeback(self._topic, self._subscribe, came_back)
        self._thread = Thread(target=self._run, name="kafka membership", daemon=True)

    @property
    def owned(self) -> frozenset[int]:
        """The shards that are assigned to us."""
        return frozenset(self.standing.owned)

    @property
    def standing(self) -> Standing:
        """What a transaction needs to be accepted, and what it may be about. From any thread."""
        return self._assignments.standing

    @property
    def left(self) -> bool:
        """Whether the group was told, at the end, that this process has left it."""
        return self._end == "left"

    def start(self) -> None:
        self._thread.start()

    async def close(self, *, leave: bool = True) -> None:
        """Give the shards back and stop. ``leave=False``: as a crash does, without a word."""
        if not self._end:
            self._end = "leaves" if leave else "stays"
        await asyncio.to_thread(self._thread.join, _REVOKE_S + 2 * LEAVE_S)

    def may_own(self, partition: int) -> bool:
        """Return whether the group's coordinator, asked now, counts the shard as ours. Blocks.

        It is asked by a commit, which it refuses from whoever is not a member of this generation.
        No answer is a no: a shard that may be somebody else's is not claimed.
        """
        if partition not in self.owned:
            return False
        try:
            return self._confirmations.ask(partition).result(_CONFIRM_S)
        except FutureTimeout:
            return False

    # --- the membership's thread ------------------------------------------------------------------

    def _run(self) -> None:
        again = True
        while again:
            again = False
            try:
                self._serve(self._consumer)
            except KafkaException as error:
                self._give_up(sorted(self.owned), _LOST_S)
                again = self._assignments.lost and is_shut_out(error.args[0]) and not self._end
                if again:
                    self._begin_again()
                else:
                    self._fail(error)
            except Exception as error:  # a bug: nobody else would keep our place in the group
                _log.exception("the thread of group %s died", self._group)
                self._give_up(sorted(self.owned), _LOST_S)
                failure = ProcessorError(
                    f"the thread that keeps this process in group {self._group} died: {error!r}. "
                    "Restart the process; its log has the traceback"
                )
                self._loop.call_soon_threadsafe(self._failed, failure)
            finally:
                self._confirmations.answer(False)
        self._consumer.close()

    def _begin_again(self) -> None:
        """Join as somebody new: it was our own former self that shut us out.

        A client that lost its session joins again under another member id, and then a commit of
        the former one, held up by the same broken connection, is refused as fenced (measured with
        librdkafka 2.16 and a broker that was away for longer than the session). That is fatal to
        the client, but nobody else is there.
        """
        _log.warning(
            "%s was shut out of group %s while it joined again; it begins anew",
            self._instance_id,
            self._group,
        )
        self._assignments.lost = False
        former, self._consumer = self._consumer, made(Consumer, self._config)
        abandon(former)

    def _subscribe(self, topic: str) -> None:
        self._consumer.subscribe(
            [topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _serve(self, consumer: Consumer) -> None:
        self._subscribe(self._topic)
        while not self._end:
            message = consumer.poll(_POLL_S)
            if message is not None:
                self._note_error(message)
            self._confirm()
            self._comeback.poll()
        if self._end == "leaves" and leave(consumer, self._topic):
            self._end = "left"

    def _on_assign(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        """Take partitions without reading them: the inputs are read by the shards' own reader.

        This is called in each generation, and last, even where there is nothing to add.
        """
        quiet = [TopicPartition(self._topic, place.partition, OFFSET_END) for place in places]
        consumer.incremental_assign(quiet)
        consumer.pause(quiet)
        gained = [place.partition for place in places]
        self._comeback.generation()
        self._assignments.assigned(consumer.consumer_group_metadata(), gained)
        for partition in gained:
            self._loop.call_soon_threadsafe(self._assign, partition)

    def _on_revoke(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        """Give shards up before the group goes on, so that the next owner finds nobody there."""
        if consumer is self._consumer:
            self._give_up([place.partition for place in places], _REVOKE_S)
        consumer.incremental_unassign(list(places))

    def _on_lost(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        if consumer is not self._consumer:
            consumer.incremental_unassign(list(places))
            return
        _log.warning(
            "%s lost its place in group %s (it did not answer for the session time-out, or its "
            "instance id is used twice); its shards are given up",
            self._instance_id,
            self._group,
        )
        self._assignments.lost = True
        self._give_up([place.partition for place in places], _LOST_S)
        consumer.incremental_unassign(list(places))

    def _give_up(self, partitions: Sequence[int], timeout_s: float) -> None:
        self._assignments.given_up(partitions)
        given = []
        for partition in partitions:
            coroutine = self._revoke(partition)
            try:
                given.append(asyncio.run_coroutine_threadsafe(coroutine, self._loop))
            except RuntimeError:  # the loop is closed, and with it every shard
                coroutine.close()
        late = wait_for(given, timeout_s).not_done
        if late:
            _log.warning(
                "%d of %d shards were not given up within %.1f s; what they still write does not "
                "count once the next owner has claimed them",
                len(late),
                len(partitions),
                timeout_s,
            )

    # --- confirmation and lag ---------------------------------------------------------------------

    def _confirm(self) -> None:
        """Commit positions, where somebody asked or it is time."""
        positions = self._confirmations.commits(self.standing.owned, monotonic())
        if not positions:
            return
        places = [TopicPartition(self._topic, *place) for place in positions.items()]
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            _log.debug("committing positions in %s: %s", self._topic, error)
            self._confirmations.answer(False)

    def _on_commit(self, error: KafkaError | None, places: Sequence[TopicPartition]) -> None:
        refused = error or next((place.error for place in places if place.error), None)
        if refused is not None:
            _log.info("the coordinator of %s does not confirm us: %s", self._group, refused.str())
        self._confirmations.answer(refused is None)

    # --- errors -----------------------------------------------------------------------------------

    def _note_error(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if is_shut_out(error):
            raise KafkaException(error)
        _log.warning("group %s: %s", self._group, forbidding(error))

    def _fail(self, cause: KafkaException) -> None:
        error = cause.args[0]
        text = f"group {self._group} shut this process out ({error.str()})"
        failure: ProcessorError
        if is_shut_out(error):
            failure = MemberFenced(
                f"{text}: another process joined it as {self._instance_id!r}, with its state in "
                "another folder or on another machine. Give every process an instance id of its "
                "own that stays over its restarts (--instance-id, PROCESSOR_INSTANCE_ID, "
                "instance_id=), or give those of one machine the same --state-dir"
            )
        else:
            failure = ProcessorError(f"{text}; restart it")
        failure.__cause__ = cause
        self._loop.call_soon_threadsafe(self._failed, failure)

    def _consumer_config(self, connection: KafkaSettings, settings: Settings) -> dict[str, Any]:
        session_ms = int(settings.session_timeout_s * 1000)
        return connection.consumer(
            {
                "group.instance.id": self._instance_id,
                "group.protocol": "classic",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": max(session_ms // 4, 100),
                **METADATA,
                "on_commit": self._on_commit,
            }
        )
