"""Which business keys a run holds: those that it was given, and has not given back."""

from __future__ import annotations

import pytest

from processor.core.correlation import CLAIM, WITHDRAW, begins_key, key_id
from processor.core.data.address import Address
from processor.core.data.failure import Failure
from processor.core.event import Event
from processor.core.nouns.call import CallAnswered, CallGivenUp, CallOperation, CallSent
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Carried, Correlation, Lineage
from processor.core.nouns.run import WorkflowCompleted, WorkflowStarted
from processor.core.nouns.start import StartWith
from processor.core.nouns.update import UpdateRun
from processor.core.records.answers import Accepted, CallOutcome, Refused, UpdateEnded

from .scripted import SEED, STARTED, state

S7, S8 = Correlation("shipment", "S-7"), Correlation("shipment", "S-8")
GRANTED = UpdateEnded("run-k", "u")


def sent(id: int, key: Correlation, operation: CallOperation) -> CallSent:
    return CallSent(id, Address(None, key_id(key.name, key.key, "test")), operation)


def claim(id: int, key: Correlation = S7) -> CallSent:
    return sent(id, key, begins_key(UpdateRun(str(id), CLAIM, b"[]")))


def withdraw(id: int, key: Correlation = S7) -> CallSent:
    return sent(id, key, begins_key(RaiseEvent(WITHDRAW, b"[]")))


def asked(id: int, outcome: CallOutcome = GRANTED, key: Correlation = S7) -> list[Event]:
    return [claim(id, key), CallAnswered(id, outcome)]


def begun(*keys: Correlation) -> WorkflowStarted:
    carried = Carried(correlations=keys)
    return WorkflowStarted("order", b"[]", SEED, lineage=Lineage("run-0", carried=carried))


TAKEN = UpdateEnded("run-k", "u", b'["other","run-o"]')
BROKEN = UpdateEnded("run-k", "u", failure=Failure("application", "ValueError", "no"))
DEPOSIT = StartWith("Account", None, "allow", "use-existing", first=UpdateRun("u", CLAIM, b"[]"))


@pytest.mark.parametrize(
    ("history", "held"),
    [
        ([STARTED], ()),
        ([STARTED, claim(1)], ()),
        ([STARTED, *asked(1)], (S7,)),
        ([STARTED, *asked(1), *asked(2, key=S8)], (S7, S8)),
        ([STARTED, *asked(1), *asked(2, key=S8), *asked(3)], (S8, S7)),
        ([STARTED, *asked(1, TAKEN)], ()),
        ([STARTED, *asked(1, BROKEN)], ()),
        ([STARTED, *asked(1, Refused("CommandRejected", "no"))], ()),
        ([STARTED, *asked(1), withdraw(2)], ()),
        ([STARTED, *asked(1), withdraw(2, S8)], (S7,)),
        ([STARTED, *asked(1), withdraw(2), CallAnswered(2, Accepted("run-k"))], ()),
        ([STARTED, withdraw(1), *asked(2)], (S7,)),
        ([STARTED, claim(1), CallGivenUp(1)], ()),
        ([STARTED, sent(1, S7, DEPOSIT), CallAnswered(1, GRANTED)], ()),
        ([STARTED, sent(1, S7, UpdateRun("u", CLAIM)), CallAnswered(1, GRANTED)], ()),
        ([begun(S7, S8)], (S7, S8)),
        ([begun(S7, S8), withdraw(1)], (S8,)),
        ([begun(S7), WorkflowCompleted(None)], ()),
    ],
)
def test_a_run_holds_what_it_was_given(history: list[Event], held: tuple[Correlation, ...]) -> None:
    assert state(*history).held() == held


def test_the_newest_hundred_are_known() -> None:
    keys = [Correlation("shipment", f"S-{number}") for number in range(102)]
    run = state(begun(*keys))
    assert run.held() == tuple(keys[2:])
