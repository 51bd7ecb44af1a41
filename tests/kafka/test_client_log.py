"""librdkafka repeats itself while no broker answers; our log does not."""

from __future__ import annotations

import logging

import pytest

from processor.kafka.clients import log as client_log
from processor.kafka.clients.log import Sparingly

REFUSED = (
    "FAIL [processor-x#consumer-{client}] [thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:{port}/bootstrap:"
    " Connect to ipv4#127.0.0.1:{port} failed: Connection refused (after {ms}ms in state CONNECT)"
)


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("client", logging.ERROR, "", 0, text, (), None)


def test_the_same_of_every_client_passes_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(client_log, "monotonic", lambda: now)
    sparingly = Sparingly()
    assert sparingly.filter(line(REFUSED.format(client=1, port=1, ms=0)))
    assert not sparingly.filter(line(REFUSED.format(client=2, port=1, ms=17)))
    assert sparingly.filter(line(REFUSED.format(client=2, port=2, ms=0))), "another broker"
    now += 11.0
    assert sparingly.filter(line(REFUSED.format(client=2, port=1, ms=0)))


@pytest.mark.parametrize(
    "text",
    [
        "Configuration enable.gapless.guarantee is experimental",
        "TXNERR [processor-x#producer-3] [thrd:main]: Current transaction failed: Unknown member",
    ],
)
def test_what_is_no_news_is_left_out(text: str) -> None:
    assert not Sparingly().filter(line(text))
