"""Runs one connection: reads, asks the function, sends, and notes how far it is.

In this order: records come from the source; the function says what they ask for; the commands are
acknowledged; letters of what cannot be used are committed together with the positions; positions
are committed. A process that ends in between leaves commands that the next one sends again. They
count once by their origin, which is the record's place. Each command has come before those of
later records, whoever sends: a process that lost its partition sends the same ones in the same
order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import blake2b
from threading import Event, Thread
from time import monotonic
from typing import Final

from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import AdminClient

from processor.codec.records import encode
from processor.config import Settings
from processor.connect.connection import Connection, Taking
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.records.effects import DeadLetter
from processor.errors import PayloadTooLarge, ProcessorError, SchemaMismatch
from processor.kafka.clients.connection import KafkaSettings, fits
from processor.kafka.clients.faults import made
from processor.kafka.connecting.headroom import Headroom
from processor.kafka.connecting.letters import Buried, buried, raw_of, retried, with_headers
from processor.kafka.connecting.outlet import Command, NotSent, Outlet
from processor.kafka.connecting.source import (
    BATCH_MAX,
    Place,
    Source,
    TopicChanged,
    Unverified,
    topic_ids,
)
from processor.seldom import Seldom

__all__ = ("Connector", "source_id")

_log = logging.getLogger("processor.connect")

_POLL_S: Final = 0.1
_TAKE_S: Final = 1.0
_FIRST: Final = 20
"""Records that are taken at once as long as it is not known how quick the function is."""

_AGAIN_S: Final = 1.0
_SAY_EVERY_S: Final = 30.0
_SEND_BYTES_MAX: Final = 8_000_000
_RECORD_BYTES_MAX: Final = 50_000_000
"""What the commands of one record may take together."""

_CLOSE_S: Final = 20.0


def source_id(topic_id: str, group: str) -> bytes:
    """Return the log id of origins: 16 bytes for a topic, as it was made once, and a group.

    Two connections that read the same topic are two sources.
    """
    text = f"{len(topic_id)}/{topic_id}/{group}"
    return blake2b(text.encode(), digest_size=16, person=b"connect").digest()


class Connector:
    """``take`` tells what a record asks for. ``failed`` is called with a bug of ours."""

    def __init__(
        self,
        connection: Connection[object],
        take: Taking,
        kafka: KafkaSettings,
        settings: Settings,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._topic, self._begin = connection.topic, connection.begin
        self._retries = kafka.topic("connect-retries")
        self._group = connection.group
        self._take = take
        self._kafka = kafka
        self._settings = settings
        self._failed = failed
        self._admin = made(AdminClient, kafka.admin())
        self._headroom = Headroom(kafka, self._admin, self._group)
        self._most = _FIRST
        self._stopping = Event()
        self._is_time = Seldom(_SAY_EVERY_S)
        self._thread = Thread(target=self._run, name=f"connection {self._group}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def close(self) -> None:
        """Finish what is under way, commit, and leave the group."""
        self._stopping.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, _CLOSE_S)

    # --- the connection's thread ------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve()
            except TopicChanged as error:
                _log.warning("connection %s: %s: it begins anew", self._group, error)
            except KafkaException as error:
                self._say(str(error))
            except BaseException as error:
                _log.exception("the thread of connection %s died", self._group)
                failure = ProcessorError(
                    f"the thread of connection {self._group} died: {error!r}. Restart the process: "
                    "it goes on where it was; the log has the traceback"
                )
                self._failed(failure)
                break
            self._stopping.wait(_AGAIN_S)
        self._headroom.close()

    def _serve(self) -> None:
        ids = self._await_topics()
        if not ids:
            return
        topics = self._topic, self._retries
        where = self._kafka, self._settings, self._group, *topics, ids, self._begin
        source = Source(*where, self._admin)
        outlet = Outlet(self._kafka, self._group, self._stopping.is_set)
        try:
            while not self._stopping.is_set():
                source.hold(not self._headroom.is_there())
                try:
                    self._take_all(source.poll(_POLL_S, self._most), source, outlet)
                except (NotSent, Unverified) as error:
                    if self._stopping.wait(_AGAIN_S):
                        return
                    self._say(str(error))
                    outlet.renew()
                    source.rewind()
        finally:
            outlet.close()
            source.close()

    def _await_topics(self) -> dict[str, str]:
        """Wait until both topics are there, and return their ids; {} at the end."""
        topics = self._topic, self._retries
        while not self._stopping.is_set():
            ids = topic_ids(self._admin, topics)
            missing = [topic for topic in topics if topic not in ids]
            if not missing:
                return ids
            own = f"run `processor topics apply --namespace {self._kafka.namespace}`"
            remedy = own if self._retries in missing else "make it"
            self._say(f"topic {missing[-1]} does not exist, and is waited for: {remedy}")
            self._stopping.wait(_AGAIN_S)
        return {}

    def _take_all(self, messages: Sequence[Message], source: Source, outlet: Outlet) -> None:
        """Deal with records. Raises ``NotSent`` where they are to be read again."""
        commands: list[Command] = []
        letters: list[Buried] = []
        positions: dict[Place, int] = {}
        size, spent_s = 0, 0.0
        for message in messages:
            begun_s = monotonic()
            try:
                asked = self._commands_of(message, source)
            except _Unusable as error:
                letters.append(error.letter)
                asked = []
            spent_s += monotonic() - begun_s
            commands += asked
            size += sum(len(each.key) + len(each.value) for each in asked)
            if size >= _SEND_BYTES_MAX:
                outlet.send(commands)
                commands, size = [], 0
            place = message.topic() or "", message.partition() or 0
            positions[place] = (message.offset() or 0) + 1
        self._pace(len(messages), spent_s)
        outlet.send(commands)
        if letters:
            self._say_buried(letters)
            done = {**source.done, **positions}
            outlet.bury(letters, source.places(done), source.member)
            source.committed(done)
        source.done.update(positions)

    def _pace(self, count: int, spent_s: float) -> None:
        """Take as many records at once, from now on, as the function has done in ``_TAKE_S``.

        A group gives up whoever does not poll for five minutes: a slow function would be asked
        about the same batch for ever.
        """
        if count:
            in_time = int(count * _TAKE_S / spent_s) if spent_s > 0 else BATCH_MAX
            self._most = min(max(in_time, 1), 2 * self._most, BATCH_MAX)

    def _commands_of(self, message: Message, source: Source) -> list[Command]:
        """Return what a record asks for. Raises ``_Unusable``."""
        raw = raw_of(message)
        is_retried = raw.topic == self._retries
        if is_retried:
            if raw.key != self._group.encode():
                return []
            try:
                raw = retried(message)
            except SchemaMismatch as error:
                place = "connect-retries", raw.partition, raw.offset
                reason = f"connection {self._group!r}: no dead letter: {error}"
                letter = DeadLetter(*place, raw.key, raw.value, reason)
                raise _Unusable(Buried(letter, [])) from error
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset()
        log = source_id(source.ids[topic], self._group)
        try:
            commands = []
            raw = raw if is_retried else with_headers(raw, message)
            for index, (id, operation) in enumerate(self._take(raw)):
                origin = Origin(log, partition, offset or 0, index)
                command = Command(id.encode(), encode(ClientCommand(id, operation, origin)))
                if not fits(*command):
                    raise PayloadTooLarge(
                        f"what it asks of {id!r} has {len(command.value):,} bytes, and a command "
                        "has 2,000,000 at the most: keep the value elsewhere, and pass where it is"
                    )
                commands.append(command)
            if sum(len(each.value) for each in commands) > _RECORD_BYTES_MAX:
                raise PayloadTooLarge(
                    f"what it asks for has more than {_RECORD_BYTES_MAX:,} bytes together"
                )
        except BaseException as error:  # whatever the user's function raises, SystemExit too
            raise _Unusable(buried(raw, self._group, error)) from error
        self._headroom.sent(each.key.decode() for each in commands)
        return commands

    def _say_buried(self, letters: Sequence[Buried]) -> None:
        letter = letters[0].letter
        if self._is_time("buried"):
            others = f", and {len(letters) - 1} others" if len(letters) > 1 else ""
            _log.warning(
                "%s[%d] at offset %d%s cannot be used: %s. It goes to %s. After a fix: `processor "
                "topics dead-letters replay`",
                *(letter.topic, letter.partition, letter.offset, others, letter.reason),
                self._kafka.topic("dead-letters"),
            )

    def _say(self, text: str) -> None:
        if self._is_time(text):
            _log.warning("connection %s: %s", self._group, text)


class _Unusable(Exception):
    """A record that cannot be used, with its dead letter."""

    def __init__(self, letter: Buried) -> None:
        super().__init__(letter.letter.reason)
        self.letter = letter
