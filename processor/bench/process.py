"""A worker process that is measured, and its parent's hold on it.

They speak over the child's stdin and stdout: each line in is answered with one line of JSON, and
the end of stdin (the parent has died, or wants it so) stops the child in order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from processor.bench.meter import resident_mb
from processor.bench.served import SERVED
from processor.bench.workloads import EXECUTIONS
from processor.errors import ProcessorError
from processor.tuning import tune_process
from processor.worker import Worker

__all__ = ("PROGRAM", "WorkerProcess", "WorkerProcessFailed", "await_shards", "main", "status_of")

PROGRAM = "processor.bench.process"
KAFKA_VARIABLE = "PROCESSOR_BENCH_KAFKA"
READY_S = 60.0
STOP_S = 40.0


class WorkerProcessFailed(ProcessorError):
    """The worker process ended, or does not answer; the message has the end of its log."""


class WorkerProcess:
    """One worker of a namespace. ``slot`` names its state directory and its static member id.

    ``program`` is the module that is run: this one, or one that adds to it. ``kafka`` are further
    properties of librdkafka; they may hold passwords, so no command line shows them.
    """

    def __init__(
        self,
        server: str,
        namespace: str,
        folder: Path,
        slot: int = 0,
        program: str = PROGRAM,
        kafka: Mapping[str, str] | None = None,
    ) -> None:
        self._log = folder / f"worker-{slot}.log"
        self._command = [sys.executable, "-m", program, server, namespace]
        self._command += [str(folder / f"state-{slot}"), f"{namespace}-{slot}"]
        self._environment = {**os.environ, KAFKA_VARIABLE: json.dumps(dict(kafka or {}))}
        self._process: subprocess.Popen[str] | None = None
        self.state_dir = folder / f"state-{slot}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "started before"
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the parent, which then stops the child
            )

    def status(self) -> dict[str, Any]:
        """Ask the worker how it is: see ``status_of``. Blocks."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write("\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise WorkerProcessFailed(f"the worker process has ended; its log {self._log}:\n{tail}")
        status: dict[str, Any] = json.loads(answer)
        return status

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None, "started before"
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        """End it in order; a process that hangs is killed."""
        if self._process is None or self._process.poll() is not None:
            return
        try:
            self._process.communicate(timeout=STOP_S)  # closes its stdin
        except subprocess.TimeoutExpired:
            self.kill()


def await_shards(workers: list[WorkerProcess], count: int, timeout_s: float = READY_S) -> None:
    """Wait until the workers together run ``count`` shards. Blocks."""
    deadline = time.monotonic() + timeout_s
    while sum(worker.status()["shards"] for worker in workers) < count:
        if time.monotonic() > deadline:
            raise WorkerProcessFailed(f"{count} shards did not run within {timeout_s:.0f} s")
        time.sleep(0.02)


def status_of(worker: Worker) -> dict[str, Any]:
    """Return what a worker has done and holds; ``heap_blocks`` are Python's small objects."""
    shards = [status for status in worker.shards.values() if status.state == "running"]
    return {
        "pid": os.getpid(),
        "shards": len(shards),
        "takeover_s": max((each.takeover_s for each in shards), default=0.0),
        "turns_folded": sum(each.turns_folded for each in shards),
        "executions": dict(EXECUTIONS),
        "rss_mb": resident_mb([os.getpid()]),
        "heap_blocks": sys.getallocatedblocks(),
    }


async def serve(worker: Worker, status: Callable[[Worker], dict[str, Any]]) -> None:
    serving = asyncio.create_task(worker.run())
    answering = asyncio.create_task(answer(worker, status))
    await asyncio.wait((serving, answering), return_when=asyncio.FIRST_COMPLETED)
    worker.stop()
    await serving
    if answering.done():
        answering.result()


async def answer(worker: Worker, status: Callable[[Worker], dict[str, Any]]) -> None:
    """Answer each line on stdin until it ends."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        sys.stdout.write(json.dumps(status(worker)) + "\n")
        sys.stdout.flush()


def main(status: Callable[[Worker], dict[str, Any]] = status_of) -> None:
    """Serve as the arguments say, and answer with ``status``."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("server", "namespace", "state_dir", "instance_id"):
        arguments.add_argument(name)
    given = vars(arguments.parse_args())
    given["kafka"] = json.loads(os.environ.get(KAFKA_VARIABLE, "{}"))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")

    tune_process()

    async def run() -> None:
        await serve(Worker(**given, **SERVED), status)

    asyncio.run(run())


if __name__ == "__main__":
    main()
