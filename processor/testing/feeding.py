"""Feeds a connection in a test, as its topic would."""

from __future__ import annotations

from abc import ABC
from typing import Any, TypeVar

from processor import checks
from processor.client.calls import ClientCalls
from processor.codec.payloads import JsonPayloads
from processor.connect.connection import Connection
from processor.connect.values import Raw, Record
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.records.answers import Refused
from processor.errors import InvalidArgument
from processor.failures import refusal

__all__ = ("FeedsConnections",)

T = TypeVar("T")

_LOG = b"a topic in tests"


class FeedsConnections(ABC):
    """The part of an environment that stands in for users' topics."""

    _calls: ClientCalls
    _fed = 0

    async def feed(self, connection: Connection[T], *values: Any) -> None:
        """Give values, one after the other, to a connection, as records of its topic.

        A value goes through JSON, as it would in the topic; ``bytes`` are a record's value as they
        are. A ``connect.Record`` has a key, headers and a time as well. What a shard would send to
        the dead letters is raised: errors of the function, ``SchemaMismatch`` of a value,
        ``WorkflowAlreadyStarted``, ``WorkflowNotFound``, ``CommandRejected``.
        """
        if not isinstance(connection, Connection):
            given = checks.shown(connection)
            raise InvalidArgument(f"feed: {given} is no connection: put @connect.define on it")
        plain = JsonPayloads()
        take = connection.taking(plain, self._calls.encoded)
        for value in values:
            record = value if isinstance(value, Record) else Record(connection.topic, value)
            encoded = record.value
            if not isinstance(encoded, bytes):
                encoded = plain.encode(encoded)
            time = record.timestamp
            time_ms = self._calls.now_ms() if time is None else int(time.timestamp() * 1000)
            place = connection.topic, 0, self._fed
            self._fed += 1
            raw = Raw(*place, time_ms, record.key, encoded, record.headers)
            for index, (id, operation) in enumerate(take(raw)):
                command = ClientCommand(id, operation, Origin(_LOG, 0, raw.offset, index))
                timeout_s = self._calls.settings.request_timeout_s
                answer = await self._calls.gateway.request(command, timeout_s=timeout_s)
                if isinstance(answer, Refused):
                    raise refusal(answer)
