"""What becomes of an input that cannot be decided: it never stops its shard."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from processor.codec.records import encode
from processor.core.data.failure import writable
from processor.core.data.shown import is_a, shown
from processor.core.draft import Context, Draft
from processor.core.inputs import ClientCommand, Input
from processor.core.records.answers import Refused
from processor.core.records.effects import DeadLetter
from processor.core.records.turn import Positions, Source
from processor.core.replay import failed as code_failed
from processor.core.runner import CodeError
from processor.errors import PayloadTooLarge
from processor.readable import readable
from processor.shard.gate import Gate
from processor.shard.turns.instances import Instances
from processor.shard.turns.writer import Writer

__all__ = ("Failed", "GivingUp")

_log = logging.getLogger("processor.shard")

_TOPICS: Final[dict[Source, str]] = {"results": "activity-results", "timers": "timers"}


class Failed(NamedTuple):
    """An input that is to be decided once more. ``positions``: those past it in its topic."""

    source: Source
    input: Input
    run_id: str
    positions: Positions | None
    offset: int


class GivingUp:
    def __init__(self, partition: int, gate: Gate, instances: Instances, writer: Writer) -> None:
        self._partition = partition
        self._gate = gate
        self._instances = instances
        self._writer = writer

    def give_up(self, failed: Failed, error: Exception, context: Context) -> None:
        """Refuse a command, bury the input of a topic, park the run of anything else."""
        source, input, _, positions, offset = failed
        code_error = code_failed(error)
        reason = f"deciding it failed twice: {code_error.error}"
        _log.error(
            "shard %d: %s for %r is given up: %s",
            self._partition,
            type(input).__name__,
            input.workflow_id,
            readable(reason),
        )
        if isinstance(input, ClientCommand):
            where = positions or self._gate.positions
            told = "PayloadTooLarge" if is_a(error, PayloadTooLarge) else "CommandRejected"
            self._writer.answer(input, offset, where, Refused(told, reason), bury=True)
        elif positions is not None:
            self._gate.bury(self._letter_of(input, _TOPICS[source], offset, reason), positions)
        else:
            self._park(input.workflow_id, source, code_error, context)

    def _letter_of(self, input: Input, topic: str, offset: int, reason: str) -> DeadLetter:
        """Return the dead letter of an input, without its value where that cannot be encoded."""
        value = None
        try:
            value = encode(input)
        except Exception as error:  # burying is what is done about errors: it has to succeed
            why = shown(error).message
            reason = f"{reason} (its value is there only: it cannot be encoded again: {why})"
        key = writable(input.workflow_id).encode()
        return DeadLetter(topic, self._partition, offset, key, value, reason)

    def _park(self, workflow_id: str, source: Source, error: CodeError, context: Context) -> None:
        entry = self._instances.entry(workflow_id)
        if entry.instance is not None and entry.instance.state.parked is None:
            draft = Draft(entry.instance, context)
            draft.park(error)
            self._writer.write(draft, entry, source, self._gate.positions, None)
