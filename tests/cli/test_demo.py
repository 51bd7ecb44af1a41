"""The demo, end to end in a process of its own: finished, killed and resumed, and asked."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest

from .conftest import COMMAND, Processor, clean_environment

DONE = "Order processing completed successfully!"
REFUSED = "Order processing failed: Fraud review rejected or timed out"


def shown_events(output: str) -> list[tuple[int, str]]:
    """Return number and type of each event that a demo showed."""
    found = re.findall(r"^\d\d:\d\d:\d\d\.\d{3} +(\d+)  (\w+)", output, re.MULTILINE)
    return [(int(number), type) for number, type in found]


def order_in(output: str) -> str:
    return str(re.findall(r"order-\w{8}", output)[0])


def test_the_demo_ends_with_the_result_of_the_order(processor: Processor) -> None:
    demo = processor("demo")
    output, errors = demo.communicate(timeout=60)
    assert demo.returncode == 0, errors
    assert output.splitlines()[-1] == DONE
    assert errors == ""
    numbers = [number for number, _ in shown_events(output)]
    assert numbers == list(range(19))
    assert "process_payment: REQUIRES_REVIEW" in output


@pytest.mark.parametrize("moment", ["TimerStarted", "EventReceived"])
def test_a_killed_demo_resumes_its_order(processor: Processor, moment: str) -> None:
    first = processor("demo")
    assert first.stdout is not None
    seen = ""
    for line in first.stdout:
        seen += line
        if moment in line:
            break
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = processor("demo")
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert output.startswith(f"resuming order {order_in(seen)} where it was")
    assert output.splitlines()[-1] == DONE
    events = shown_events(output)
    assert events[: len(shown_events(seen))] == shown_events(seen)
    assert [number for number, _ in events] == list(range(len(events)))
    assert sum(type == "EventReceived" for _, type in events) == 1


def test_a_finished_demo_is_followed_by_a_new_order(processor: Processor) -> None:
    outputs = [processor("demo", "--reject").communicate(timeout=60)[0] for _ in range(2)]
    assert outputs[0].splitlines()[-1] == outputs[1].splitlines()[-1] == REFUSED
    assert order_in(outputs[0]) != order_in(outputs[1])
    assert outputs[1].startswith("new order")


def test_fresh_gives_the_unfinished_order_up(processor: Processor) -> None:
    first = processor("demo")
    assert first.stdout is not None
    before = order_in(first.stdout.readline())
    first.kill()
    first.wait()
    output = processor("demo", "--fresh", "--amount=10").communicate(timeout=60)[0]
    assert before not in output
    assert output.splitlines()[-1] == DONE


def test_a_failed_order_is_a_failed_demo(processor: Processor) -> None:
    demo = processor("demo", "--payment-failures=5")
    output, errors = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert errors.startswith("error: ")
    assert errors.rstrip().endswith("Payment provider is down")
    assert "Traceback" not in output + errors


def test_json_is_one_document_a_line(processor: Processor) -> None:
    output = processor("demo", "--json", "--amount=10").communicate(timeout=60)[0]
    *events, last = [json.loads(line) for line in output.splitlines()]
    assert [event["number"] for event in events] == list(range(len(events)))
    assert last["result"] == DONE


@pytest.mark.parametrize(("answer", "result"), [(b"y\n", DONE), (b"what?\nn\n", REFUSED)])
def test_on_a_terminal_a_person_is_asked(tmp_path: Path, answer: bytes, result: str) -> None:
    output, code = on_a_terminal(tmp_path, answer)
    assert code == 0, output
    assert "start me again: I resume here" in output
    assert "\x1b[" in output, "it is coloured"
    assert without_colours(output).splitlines()[-1] == result


def test_ctrl_c_on_a_terminal_stops_it_and_says_how_to_go_on(tmp_path: Path) -> None:
    output, code = on_a_terminal(tmp_path, b"\x03")
    assert code == 130
    last = without_colours(output).splitlines()[-1]
    assert last == f"stopped; `processor demo` resumes {order_in(output)} where it is now"
    again, code = on_a_terminal(tmp_path, b"y\n")
    assert code == 0
    assert f"resuming order {order_in(output)} where it was" in again


def without_colours(output: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", output).replace("\r", "").rstrip()


def on_a_terminal(folder: Path, answer: bytes) -> tuple[str, int]:
    """Run the demo on a pseudo-terminal and type ``answer`` when it asks."""
    ours, theirs = pty.openpty()
    environment = {**clean_environment(), "TERM": "xterm-256color", "COLUMNS": "120"}
    demo = subprocess.Popen(
        [*terminal_leader(), *COMMAND, "demo"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    output = b""
    typed = False
    try:
        while chunk := read_some(ours):
            output += chunk
            if b"[y/n]" in output and not typed:
                typed = True
                os.write(ours, answer)
        return output.decode(), demo.wait(60)
    finally:
        demo.kill()
        demo.wait()
        os.close(ours)


def terminal_leader() -> tuple[str, ...]:
    """Return a command that makes its stdin the controlling terminal: Ctrl-C then is a signal.

    A shell starts what runs in its background with that signal ignored, which children inherit.
    """
    code = (
        "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "signal.signal(signal.SIGINT, signal.SIG_DFL);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return (COMMAND[0], "-c", code)


def read_some(descriptor: int) -> bytes:
    """Return what is there; nothing once the other side has closed the terminal."""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
