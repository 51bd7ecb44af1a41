"""replay: a run's history through its workflow code, to get back its state and its live code.

Every decision that the code takes is compared with the one in the history: what identifies it,
and then its payloads, as values. A mismatch names the event, what the history has, what the code
asked for instead, and the line that asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from processor.core.data.shown import shown
from processor.core.event import Decision, Event
from processor.core.evolve import evolve
from processor.core.nouns.activity import AttemptState, attempted
from processor.core.nouns.chain import external_events
from processor.core.nouns.external import EventReceived
from processor.core.nouns.run import RunParked, WorkflowStarted
from processor.core.records.snapshot import EntityDelta, Snapshot, kept_in, started_now, state_of
from processor.core.records.turn import Turn
from processor.core.runner import Asked, CodeError, Runner, Runners
from processor.core.state import RunState
from processor.errors import ProcessorError

__all__ = (
    "Instance",
    "begun",
    "describe",
    "failed",
    "matches",
    "not_runnable",
    "replay",
)


@dataclass(slots=True)
class Instance:
    """An open run in memory.

    ``runner`` is its live code, or the error that keeps the code from running. ``pending`` are
    facts that the code has not seen: those that arrived while the run was parked. Where the code
    is lost, the events that it had not taken are before them. ``difference`` says what payload was
    made otherwise when the code was last replayed.
    """

    state: RunState
    runner: Runner | CodeError
    pending: list[Event] = field(default_factory=list)
    difference: str = ""

    @property
    def unread(self) -> list[EventReceived]:
        """The events that the code has not taken; all that came where no code can tell."""
        came = external_events(self.pending)
        return came if isinstance(self.runner, CodeError) else [*self.runner.left(), *came]

    def lose(self, error: CodeError) -> None:
        """Go on without the code, and keep the events that it had not taken."""
        if not isinstance(self.runner, CodeError):
            self.pending = [*self.runner.left(), *self.pending]
            self.runner.close()
        self.runner = error


def replay(
    runners: Runners,
    history: Iterable[Turn | Snapshot],
    attempts: Iterable[tuple[AttemptState, bytes]] = (),
    *,
    keep: bool = False,
) -> Instance:
    """Return the run that its turns, in order, add up to.

    They begin with the start of the run, or with a snapshot. Of what follows a snapshot, the code
    sees the turns after the last delta. ``attempts`` is where its open activities stand, each with
    the key of its record. ``keep``: queries are to follow.
    """
    records = [*history]
    assert records, "a run has at least the turn that started it"
    player = _Player(runners, records)
    if keep and not isinstance(player.runner, CodeError):
        player.runner.keep()
    for record in records[player.begins :]:
        player.play(record)
    for attempt, key in attempts:
        attempted(player.state, attempt, key)
    return Instance(player.state, player.runner, player.pending, player.difference)


def begun(
    runners: Runners, workflow_id: str, run_id: str, started: WorkflowStarted, now_ms: int
) -> Runner | CodeError:
    """Return the fresh code of a run, or why there is none."""
    try:
        return runners.start(workflow_id, run_id, started, now_ms)
    except CodeError as error:
        return error
    except ProcessorError as error:
        return not_runnable(error)


class _Player:
    """Folds the turns of one run into its state and feeds its runner beside it.

    It begins to do so with the turn at ``begins``.
    """

    def __init__(self, runners: Runners, records: Sequence[Turn | Snapshot]) -> None:
        self.pending: list[Event] = []
        self.difference = ""
        self.begins = 0
        self.runner: Runner | CodeError
        self._runners = runners
        first = records[0]
        if isinstance(first, Snapshot):
            self._resume(first, _since(records))
            return
        self.state = RunState(first.workflow_id, first.run_id)
        started = first.events[0]
        assert isinstance(started, WorkflowStarted), f"history begins with {started}"
        try:
            self.runner = begun(runners, first.workflow_id, first.run_id, started, first.time_ms)
        except Exception as error:
            self.runner = failed(error)

    def _resume(self, snapshot: Snapshot, since: Sequence[Turn]) -> None:
        self.state = state_of(snapshot)
        for turn in since:
            for event in turn.events:
                evolve(self.state, event, turn.time_ms)
        self.begins = 1 + len(since)
        started, kept = started_now(self.state), kept_in(snapshot, since)
        try:
            self.runner = self._runners.resume(snapshot.workflow_id, snapshot.run_id, started, kept)
        except ProcessorError as error:
            self.runner = not_runnable(error)
        except Exception as error:
            self.runner = failed(error)

    def play(self, turn: Turn | Snapshot) -> None:
        state = self.state
        assert turn.run_id == state.run_id, f"a turn of {turn.run_id} is none of {state.run_id}"
        assert turn.first == state.events, f"{turn.run_id}: turn {turn.first} at {state.events}"
        decisions: list[Decision] = []
        parks = False
        for event in turn.events:
            evolve(state, event, turn.time_ms)
            if isinstance(event, Decision):
                decisions.append(event)
            elif isinstance(event, RunParked):
                parks = True
            elif event.wakes_code:
                self.pending.append(event)
        if isinstance(turn, Snapshot):
            state.base = turn.first
        if parks or state.parked is not None or isinstance(self.runner, CodeError):
            return
        if self.pending:
            facts, self.pending = self.pending, []
            try:
                taken = self.runner.activate(turn.time_ms, turn.first, facts, decisions)
                _compare(turn, taken, decisions)
                self._compare_payloads(turn, taken, decisions)
            except CodeError as error:
                self._lose(self.runner, facts, error)
            except Exception as error:
                self._lose(self.runner, facts, failed(error))

    def _lose(self, runner: Runner, facts: list[Event], error: CodeError) -> None:
        runner.undo(facts)
        self.pending = [*runner.left(), *facts]
        self.runner = error

    def _compare_payloads(
        self, turn: Turn | Snapshot, taken: Sequence[Asked], recorded: Sequence[Decision]
    ) -> None:
        """Look for values that the code makes otherwise now; the first one is told."""
        for (decision, line), event in zip(taken, recorded, strict=True):
            for name in event.payloads:
                before, now = getattr(event, name), getattr(decision, name)
                if before == now or self.difference:
                    continue
                how = self._runners.difference(before, now)
                if how:
                    where = f" at {line}" if line else ""
                    text = (
                        f"run {turn.run_id} of {turn.workflow_id}: {describe(event)} has other "
                        f"{name} at replay{where}: {how}"
                    )
                    if self._runners.strict:
                        raise CodeError("nondeterminism", text, line)
                    self.difference = text


def _since(records: Sequence[Turn | Snapshot]) -> list[Turn]:
    """Return the turns that follow a snapshot, up to the last delta; nothing without one."""
    turns: list[Turn] = []
    last = 0
    for record in records[1:]:
        if isinstance(record, Snapshot):
            break
        turns.append(record)
        if isinstance(record, EntityDelta):
            last = len(turns)
    return turns[:last]


def not_runnable(error: ProcessorError) -> CodeError:
    """Return why a run's code cannot be started: unknown here, or other arguments by now."""
    told = shown(error)
    return CodeError("not_registered", f"{told.type}: {told.message}")


def failed(error: BaseException) -> CodeError:
    """Return why a run cannot go on whose code raised what nobody expects here."""
    told = shown(error, causes=True)
    return CodeError("bug", told.words, "", told.traceback)


def _compare(turn: Turn | Snapshot, taken: Sequence[Asked], recorded: Sequence[Decision]) -> None:
    number = turn.first + len(turn.events) - len(recorded)
    for index in range(max(len(taken), len(recorded))):
        decision, where = taken[index] if index < len(taken) else (None, "")
        event = recorded[index] if index < len(recorded) else None
        if decision is None or event is None or not matches(decision, event):
            raise CodeError(
                "nondeterminism",
                f"run {turn.run_id} of {turn.workflow_id}: at event {number + index} the history "
                f"has {describe(event)}, but the code now asks for {describe(decision)}"
                + (f" at {where}" if where else "")
                + ". Deploy code that repeats the history; the run then goes on",
                where,
            )


def matches(decision: Decision, recorded: Decision) -> bool:
    """Return whether a decision taken at replay is the recorded one."""
    if type(decision) is not type(recorded):
        return False
    return all(getattr(decision, name) == getattr(recorded, name) for name in decision.identity)


def describe(decision: Decision | None) -> str:
    """Return a decision in words: its type and the fields that identify it."""
    if decision is None:
        return "nothing"
    fields = (f"{name}={getattr(decision, name)!r}" for name in decision.identity)
    return f"{type(decision).__name__}({', '.join(fields)})"
