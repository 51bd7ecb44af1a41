"""Commands that arrive: one that may change something counts once, a question is answered."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from processor.checks import shown
from processor.codec.json_views import to_json
from processor.codec.records import Envelope
from processor.core.data.cause import CallRequest, NamedRequest, Origin, is_keyed, keyed_for
from processor.core.data.run_id import run_id_of
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun
from processor.core.nouns.update import AwaitUpdate
from processor.core.nouns.value import AwaitValue
from processor.core.operation import Operation
from processor.core.questions import DescribeRun, QueryRun, ReadShard
from processor.core.records.answers import Page, Refused
from processor.core.records.effects import DeadLetter, Reply
from processor.core.records.turn import Positions
from processor.shard.dedup import Requests
from processor.shard.flight import Flight
from processor.shard.marks import Marks
from processor.shard.ports import NO_PLACE, ShardPorts
from processor.shard.reads import Reads
from processor.shard.turns.asking import ASKED, Asked, Asking
from processor.shard.turns.cache import Entry
from processor.shard.turns.deciding import Deciding
from processor.shard.turns.instances import Instances
from processor.shard.turns.querying import Querying
from processor.shard.turns.updating import Updating
from processor.shard.turns.valuing import Valuing
from processor.shard.turns.writer import source_at

__all__ = ("Commands",)

_FORGED: Final = Refused(
    "CommandRejected",
    "it says that this shard sent it, and what a shard sends itself is in no topic: somebody else "
    "made it. Find out who writes to this topic, and let only workers and clients do so (ACLs)",
)


class Commands:
    """``requests`` knows what has counted, with all that is on its way into the log."""

    def __init__(
        self,
        partition: int,
        ports: ShardPorts,
        requests: Requests,
        flight: Flight,
        instances: Instances,
        deciding: Deciding,
        reads: Reads,
        querying: Querying,
        updating: Updating,
        valuing: Valuing,
        asking: Asking,
        marks: Marks,
    ) -> None:
        self._partition = partition
        self._log_id = ports.log.id
        self._tables, self._outbox = ports.tables, ports.outbox
        self._requests = requests
        self._flight = flight
        self._instances = instances
        self._deciding = deciding
        self._reads = reads
        self._querying = querying
        self._updating = updating
        self._valuing = valuing
        self._asking = asking
        self._marks = marks

    def take(self, command: ClientCommand, offset: int, positions: Positions) -> None:
        """Take a command in. ``positions``, past it, and ``offset`` are its place.

        One that the shard sent to itself has ``NO_PLACE``, and the positions past all that was
        read.
        """
        body = command.body
        if isinstance(body, Operation) or _asked_by_run(command) is not None:
            self._change(command, offset, positions)
        elif command.reply_to is None:
            return
        elif isinstance(body, DescribeRun):
            self._reads.guarded(command, partial(self._describe, command, body))
        elif isinstance(body, QueryRun):
            self._reads.guarded(command, partial(self._querying.take, command, body))
        elif isinstance(body, AwaitUpdate):
            self._reads.guarded(command, partial(self._updating.take, command, body))
        elif isinstance(body, AwaitValue):
            self._reads.guarded(command, partial(self._valuing.take, command, body))
        elif isinstance(body, ReadShard):
            self._marks.write()
            told = Reply(command.reply_to, Page(to_json(self._marks.view())))
            self._flight.then(partial(self._outbox.reply, told))
        else:
            serve = partial(self._reads.serve, command, body)
            self._flight.then(partial(self._reads.guarded, command, serve))

    def refuse(
        self, envelope: Envelope, letter: DeadLetter, positions: Positions, told: Refused
    ) -> None:
        """Refuse a call that cannot be taken; it goes to ``dead-letters``."""
        cause = envelope.cause
        if isinstance(cause, Origin) and self._is_forged(cause):
            stranger = envelope._replace(cause=None, caller=None, reply_to=None)
            self._asking.refuse(stranger, letter, positions, _FORGED)
        elif self._requests.standing(cause, again=envelope.again) == "new":
            self._asking.refuse(envelope, letter, positions, told)

    def _describe(self, command: ClientCommand, body: DescribeRun) -> None:
        entry = self._instances.entry(command.workflow_id)
        answer = self._reads.describe(command, body, entry)
        self._flight.then(partial(self._outbox.reply, answer))

    def _change(self, command: ClientCommand, offset: int, positions: Positions) -> None:
        """Let a command that may change something count, unless it has."""
        cause, run_id, entry = command.cause, "", None
        if offset != NO_PLACE and isinstance(cause, Origin) and self._is_forged(cause):
            stranger = replace(command, cause=None, caller=None)
            self._deciding.refuse(stranger, offset, positions, _FORGED)
            return
        standing = self._requests.standing(cause, again=command.again)
        if isinstance(command.body, StartRun):
            run_id = run_id_of(self._log_id, command.workflow_id, cause, self._partition, offset)
            if standing == "new":
                entry = self._instances.entry(command.workflow_id)
                if self._is_known(entry, run_id):
                    standing = "known"
        refused = None if standing != "known" else self._used_before(command, run_id, entry)
        asked = _asked_by_run(command)
        if refused is not None:
            counts = command if is_keyed(cause) else replace(command, cause=None)
            self._deciding.refuse(counts, offset, positions, refused)
        elif standing == "new" and asked is not None:
            entry = self._instances.entry(command.workflow_id)
            self._asking.take(command, asked, offset, positions, entry)
        elif standing == "new":
            source = source_at(offset)
            self._deciding.decide(source, command, run_id, positions, offset, entry)
        elif command.reply_to is not None:
            answer = self._requests.answer(cause)
            again = partial(self._reads.again, command, run_id, standing, answer)
            self._flight.then(again)

    def _used_before(
        self, command: ClientCommand, run_id: str, entry: Entry | None
    ) -> Refused | None:
        """Return why a request does not count whose key was used for something else before.

        ``run_id`` is that of the run which a start with this key has made, or would.
        """
        cause, body = command.cause, command.body
        if not isinstance(cause, NamedRequest) or not isinstance(body, Operation):
            return None
        now, before = None, self._requests.used_for(cause)
        if is_keyed(cause):
            now, key = keyed_for(cause), "the idempotency key"
        else:
            key = f"the request id {shown(cause.id)}"
            entry = entry or self._instances.entry(command.workflow_id)
        if before is None and isinstance(body, StartRun):  # not known any more; its run is there
            latest = None if entry is None else entry.latest
            made = latest if latest and latest.run_id == run_id else self._tables.run(run_id)
            if made is not None and made.workflow != body.workflow:
                now, before = body.workflow, made.workflow
        if before in (None, now):
            return None
        return Refused(
            "KeyReused",
            f"{key} of this {body.word} of {command.workflow_id!r} was used for "
            f"{before!r} before, and now for {now!r}: give each its own key",
        )

    def _is_forged(self, origin: Origin) -> bool:
        """Return whether a command of the topic says that this shard sent it: nothing of it counts.

        Otherwise it would hide what the shard hands over itself.
        """
        return origin.shard == self._partition and origin.log == self._log_id

    def _is_known(self, entry: Entry, run_id: str) -> bool:
        """Return whether the run that a start makes is there: what made it came once before."""
        latest = entry.latest
        if latest is None:
            return False
        in_memory = latest.run_id == run_id or run_id in entry.begun
        return in_memory or self._tables.run(run_id) is not None


def _asked_by_run(command: ClientCommand) -> Asked | None:
    """Return what a command asks for, where a run asks and waits for more than one turn tells."""
    body = command.body
    if isinstance(body, ASKED) and isinstance(command.recorded_cause, CallRequest):
        return body
    return None
