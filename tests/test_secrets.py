"""Passwords stand in no ``repr``, no error and no log line."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from processor import Client, InvalidArgument, Worker
from processor.cli.options import Target, properties_in
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.properties import KafkaConfigInvalid
from processor.kafka.options import KafkaWorkerOptions
from processor.kafka.topics.upkeep import connect
from processor.kafka.wire.security import security_of

SECRET = "hunter2"
KAFKA = {
    "producer": "librdkafka",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "ada",
    "sasl.password": SECRET,
    "ssl.key.password": SECRET,
    "sasl.jaas.config": f'PlainLoginModule required password="{SECRET}";',
    "sasl.oauthbearer.token.endpoint.url": f"https://ada:{SECRET}@idp/token",
}


def test_no_repr_shows_a_password() -> None:
    options = KafkaWorkerOptions(
        "localhost:1", "default", (), True, False, False, 1, Path(), "me", KAFKA
    )
    held = [
        KafkaSettings("localhost:1", "default", KAFKA),
        options,
        security_of(KAFKA),
        Target("localhost:1", "default", KAFKA),
        Client("localhost:1", kafka=KAFKA),
        Worker("localhost:1", kafka=KAFKA),
    ]
    assert [each for each in held if SECRET in repr(each)] == []


@pytest.mark.parametrize("server", [f"ada:{SECRET}@broker:9092", f"kafka://ada:{SECRET}@broker"])
@pytest.mark.parametrize("kind", [Client, Worker])
def test_a_server_with_a_password_is_refused_and_not_shown(kind: type, server: str) -> None:
    with pytest.raises(InvalidArgument, match="sasl") as refused:
        kind(server)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("line", [f"sasl.password {SECRET}", f"sasl.password: {SECRET}", SECRET])
def test_a_line_that_is_no_property_is_not_shown(tmp_path: Path, line: str) -> None:
    config = tmp_path / "kafka.properties"
    config.write_text(f"# ours\n{line}\n")
    with pytest.raises(typer.BadParameter, match="line 2") as refused:
        properties_in(config)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("kind", [Client, Worker])
def test_a_property_that_is_no_text_is_named_and_not_shown(kind: type) -> None:
    with pytest.raises(InvalidArgument, match=r"'sasl\.password'") as refused:
        kind("localhost:1", kafka={"sasl.password": SECRET.encode()})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("name", ["bootstrap.servers", "metadata.broker.list"])
@pytest.mark.parametrize("kind", [Client, Worker])
def test_brokers_are_named_in_one_place_and_no_password_is_shown(kind: type, name: str) -> None:
    kafka = {name: f"ada:{SECRET}@broker:9092"}
    with pytest.raises(InvalidArgument, match=rf"{name} cannot be set, because .*`server`") as why:
        kind("localhost:1", kafka=kafka)
    with pytest.raises(KafkaConfigInvalid, match=f"{name} cannot be set") as refused:
        connect("localhost:1", kafka)
    assert SECRET not in f"{why.value}{refused.value}"


def test_brokers_with_a_password_in_a_file_are_not_shown(tmp_path: Path) -> None:
    config = tmp_path / "kafka.properties"
    config.write_text(f"bootstrap.servers=ada:{SECRET}@broker:9092\n")
    target = Target.given(None, "default", config)
    with pytest.raises(InvalidArgument, match="sasl") as refused:
        connect(target.server, target.kafka)
    assert SECRET not in str(refused.value)
