"""Bounds calls of a client library that do not keep their own time-outs, or have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

__all__ = ("answered", "let_go", "send_positions", "silence", "within")


def within(timeout_s: float, call: Callable[[], Any]) -> None:
    """Make the call on a thread of its own; raise ``TimeoutError`` when it does not return.

    The thread is left to itself then, and what it holds lives until the call returns, if ever.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            call()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    Thread(target=run, name="bounded call", daemon=True).start()
    done.result(timeout_s)


def silence(text: str) -> KafkaException:
    """Return what says that no answer came, as the client says it of its own calls."""
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, text))


def answered(timeout_s: float, call: Callable[[], Any], silent: str) -> None:
    """Make the call; raise ``KafkaException`` with this text when it does not return."""
    try:
        within(timeout_s, call)
    except TimeoutError:
        raise silence(silent) from None


def send_positions(
    producer: Producer, places: Sequence[TopicPartition], member: object, timeout_s: float
) -> None:
    """Add positions of a group to the producer's transaction. Blocks.

    Raises ``KafkaException``: the producer is of no use then. librdkafka's call may never return
    once the connection to the group's coordinator broke, whatever time-out it is given
    (librdkafka#5456, #5511; seen with 2.16 after a cut network, and after a broker's restart).
    """
    answered(
        timeout_s,
        lambda: producer.send_offsets_to_transaction([*places], member, timeout_s),
        "the group's coordinator does not answer",
    )


def let_go(producer: Producer) -> None:
    """Free a producer that is of no use: its threads and connections. It blocks nobody."""

    def close() -> None:
        # It warns of a transaction that cannot be aborted, and where warnings are errors, it raises
        # that. The next producer of this name fences the transaction.
        with suppress(KafkaException, SystemError):
            producer.close()

    Thread(target=close, name="ending a producer", daemon=True).start()
