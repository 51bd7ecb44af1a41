"""Routes for our own client: what it asks a shard, as the record that Kafka would have."""

from __future__ import annotations

import msgspec

from processor.api.calls import HttpCall
from processor.api.routing import HttpAnswer, route
from processor.codec.records import decode_as, encode
from processor.core.data.address import ReplyTo
from processor.core.data.cause import NamedRequest
from processor.core.inputs import ClientCommand
from processor.core.records.effects import Reply
from processor.errors import InvalidArgument, SchemaMismatch
from processor.views.packed import PackedSearch, packed

__all__ = ("ENDPOINTS",)


class NamespaceView(msgspec.Struct, frozen=True):
    namespace: str
    partitions: int


class PartitionQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The shard that is asked, whatever the workflow id."""

    partition: int | None = None


@route("GET", "", "view", answers={200: NamespaceView})
async def namespace(call: HttpCall) -> HttpAnswer:
    """Return how many shards the namespace has."""
    partitions = call.client._calls.gateway.partitions
    return HttpAnswer(NamespaceView(call.api.namespace, partitions))


@route("POST", "/commands", "admin", body=bytes, query=PartitionQuery, answers={200: bytes})
async def command(call: HttpCall) -> HttpAnswer:
    """Ask a shard as Python's client does: an Avro record of a command, answered by a reply."""
    given = decode_as(ClientCommand, call.body)
    if given.caller is not None or not isinstance(given.cause, NamedRequest | None):
        raise InvalidArgument("a client's command has the name of a request, and no run that asks")
    gateway, partition = call.client._calls.gateway, call.query.partition
    if partition is not None and not 0 <= partition < gateway.partitions:
        raise InvalidArgument(f"partition: there are {gateway.partitions}, from 0 on")
    asked = ClientCommand(given.workflow_id, given.body, given.cause)
    with call.watching():
        answer = await gateway.request(
            asked, timeout_s=call.bounded(call.wait_s), partition=partition
        )
    return HttpAnswer(encode(Reply(ReplyTo(0, ""), answer)))


@route("POST", "/searches", "admin", body=bytes, answers={200: bytes})
async def search(call: HttpCall) -> HttpAnswer:
    """Ask the view as Python's client does."""
    try:
        asked = msgspec.msgpack.decode(call.body, type=PackedSearch)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SchemaMismatch(f"it is no search of Python's client: {error}") from error
    found = await call.client._search(asked.query, asked.what, asked.limit, asked.cursor)
    return HttpAnswer(packed(found))


ENDPOINTS = (namespace, command, search)
