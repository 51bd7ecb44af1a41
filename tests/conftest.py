"""What several folders of tests share: the broker, one for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from tests.kafka.broker import NoBrokerError, any_broker

# A busy machine is slow, and no test is wrong for that.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kafka_servers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def kafka_servers() -> Iterator[str]:
    """The bootstrap servers of a broker; without one, tests are skipped, or fail in CI."""
    with ExitStack() as stack:
        try:
            servers = stack.enter_context(any_broker())
        except NoBrokerError as error:
            reason = f"No Kafka broker can be had here. {error}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        yield servers
