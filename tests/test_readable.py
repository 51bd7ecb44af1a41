"""What a text of others may do where people read it: nothing."""

from __future__ import annotations

import pytest

from processor.readable import readable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("order-1", "order-1"),
        ("Grüße, 你好", "Grüße, 你好"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]52;c;cm0gLXJm\x07", "\\x1b]52;c;cm0gLXJm\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("\u202etxt.exe\u2066", "\\u202etxt.exe\\u2066"),
        ("\udc80", "\\udc80"),
        ("\x00\x7f", "\\x00\\x7f"),
    ],
)
def test_what_acts_on_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert readable(text) == shown
    assert readable(text).isprintable()


def test_lines_may_stay_where_nothing_follows_that_they_could_forge() -> None:
    assert readable("a\n\tb\r\x1b[A", lines=True) == "a\n\tb\\r\\x1b[A"
