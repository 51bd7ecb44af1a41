"""What an error says stays in its lines."""

from __future__ import annotations

import pytest

from processor.dev.local_broker import BrokerUnavailable
from processor.errors import TopicsNotReady, WorkflowNotFound

from .conftest import Invoke


def test_our_own_lines_stay_lines_and_those_of_others_are_spelled_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], invoke: Invoke
) -> None:
    errors: list[Exception] = [
        BrokerUnavailable("no broker, its log says:\nline 1\n"),
        TopicsNotReady("not ready:\n  t.events: missing\nerror: forged\x1b[2J"),
        WorkflowNotFound("no run of workflow id x\nerror: forged"),
    ]
    shown = []
    for error in errors:

        def fails(*_arguments: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("processor.cli.session.new_client", fails)
        shown.append(invoke("list").stderr)
    assert shown.pop(0) == "error: no broker, its log says:\n  line 1\n"
    assert shown[0] == "error: not ready:\n    t.events: missing\n  error: forged\\x1b[2J\n"
    assert len(shown[1].splitlines()) == 1
