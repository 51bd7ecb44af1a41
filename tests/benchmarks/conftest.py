"""The benchmarks run against one broker, a real one like that of the broker tests."""

from __future__ import annotations

from tests.kafka.conftest import kafka_servers

__all__ = ("kafka_servers",)
