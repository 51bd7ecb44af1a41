"""Gives up the histories of closed runs."""

from __future__ import annotations

from functools import partial

from processor.shard.gate import Gate
from processor.shard.ports import Tables
from processor.shard.turns.instances import Instances
from processor.shard.turns.writer import Writer

__all__ = ("Purging",)


class Purging:
    def __init__(self, tables: Tables, gate: Gate, instances: Instances, writer: Writer) -> None:
        self._tables = tables
        self._gate = gate
        self._instances = instances
        self._writer = writer
        self._under_way: set[str] = set()

    def purge(self, workflow_id: str, run_id: str) -> bool:
        """Give up the history of a closed run; False where there is none, or it is open."""
        summary = self._tables.run(run_id)
        if summary is None or summary.workflow_id != workflow_id or run_id in self._under_way:
            return False
        if summary.closed_ms is None or summary.purged_ms is not None:
            return False
        latest = self._instances.entry(workflow_id).latest
        is_latest = latest is not None and latest.run_id == run_id
        positions = self._gate.positions
        appended = self._writer.purge(summary, summary.closed_ms, is_latest, positions)
        self._under_way.add(run_id)
        appended.after.append(partial(self._under_way.discard, run_id))
        return True
