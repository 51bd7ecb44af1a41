"""Where the effects of an acknowledged record go, in their order."""

from __future__ import annotations

from dataclasses import replace

from processor.core.data.cause import Origin
from processor.core.nouns.run import StartSuccessor
from processor.core.nouns.update import UpdateOver
from processor.core.nouns.value import ValueShown
from processor.core.records.effects import (
    ActivityTask,
    CancelAttempt,
    ClearTimer,
    DeadLetter,
    Forget,
    Message,
    Publish,
    Reply,
    RunResult,
    SetTimer,
)
from processor.core.records.marks import Mark
from processor.shard.eager import Eager
from processor.shard.flight import Appended
from processor.shard.intake.handover import Handover
from processor.shard.messages.border import Border
from processor.shard.outbox import Unpublished
from processor.shard.ports import Activities, Outbox, OutputRecord
from processor.shard.reads import Reads
from processor.shard.timers import Timers
from processor.shard.turns.updating import Updating
from processor.shard.turns.valuing import Valuing

__all__ = ("Effects",)


class Effects:
    """``origin`` is that of the shard's messages, but for their places."""

    def __init__(
        self,
        origin: Origin,
        eager: Eager,
        outbox: Outbox,
        timers: Timers,
        reads: Reads,
        updating: Updating,
        valuing: Valuing,
        activities: Activities,
        handover: Handover,
        border: Border,
    ) -> None:
        self._origin = origin
        self._eager = eager
        self._outbox = outbox
        self._timers = timers
        self._reads = reads
        self._updating = updating
        self._valuing = valuing
        self._activities = activities
        self._handover = handover
        self._border = border
        self.unpublished = Unpublished()

    def release(self, appended: Appended) -> int:
        """Release the effects of one record; return how many of them are sends to wait for.

        Messages of the shard to itself are none: who hands them over knows how far that is.
        """
        offset, sends, messages = appended.offset, 0, 0
        outputs: list[OutputRecord] = []
        for effect in appended.effects:
            match effect:
                case ActivityTask():
                    if effect.eager:
                        self._eager.start(effect)
                    else:
                        self._outbox.send(effect, offset)
                        sends += 1
                case SetTimer():
                    self._timers.set(effect)
                case ClearTimer():
                    self._timers.clear(effect)
                case RunResult():
                    outputs.append(effect)
                    self._reads.closed(effect)
                    self._updating.closed(effect)
                    self._valuing.closed(effect)
                case Publish():
                    outputs.append(effect)
                case CancelAttempt():
                    self._activities.cancel(effect.run_id, effect.id, effect.waits)
                case Message():
                    origin = replace(self._origin, offset=offset, index=messages)
                    messages += 1
                    if self._border.crosses(effect):
                        outputs.append(self._border.record(effect, origin))
                    else:
                        size = len(appended.value)
                        sends += self._handover.send(effect, offset, origin, size)
                case DeadLetter():
                    self._outbox.send(effect, offset)
                    sends += 1
                case StartSuccessor():
                    sends += 1  # it is delivered when its start, the next record, is acknowledged
                case Reply():
                    self._outbox.reply(effect)
                case UpdateOver():
                    self._updating.over(effect.outcome)
                case ValueShown():
                    self._valuing.shown(effect.name, effect.told)
                case Forget():
                    pass  # the tables have it, until a mark covers it
                case _:
                    raise AssertionError(f"{effect} is none of the effects that leave a shard")
        if outputs or (isinstance(appended.record, Mark)):
            # A mark moves the published position on.
            self._outbox.publish(offset, outputs)
            if outputs:
                self.unpublished.handed_over(offset, outputs)
        return sends
