"""Kafka behind TLS and passwords: the whole engine works over it, with our producer."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from processor import Client, Worker, workflow
from processor.dev.local_broker import HOST, LocalBroker, Quorum, free_ports, new_cluster_id
from processor.errors import ShardUnavailable
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.topics.upkeep import connect
from processor.kafka.wire.link import Link
from processor.kafka.wire.security import Sasl, Security, security_of
from tests.cli.conftest import Invoke, Processor, invoke, processor
from tests.kafka.feeding import up_to_date
from tests.kafka.own_broker import QUICK, need_jars, prepare, short_lived

__all__ = ("invoke", "processor")

USER, PASSWORD = "alice", "correct horse"
SESSION_S = 2.0
MODULES = "org.apache.kafka.common.security"


class Secured:
    """``servers`` want a user over TLS; ``open`` want nothing."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        port, secured, controller = free_ports(3)
        self.servers, self.open = f"{HOST}:{secured}", f"{HOST}:{port}"
        listener = "listener.name.secured"
        overrides = {
            **QUICK,
            "listeners": f"PLAINTEXT://{HOST}:{port},SECURED://{HOST}:{secured},"
            f"CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port},SECURED://{HOST}:{secured}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            "SECURED:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            f"{listener}.plain.sasl.jaas.config": f"{MODULES}.plain.PlainLoginModule required "
            f'user_{USER}="{PASSWORD}";',
            f"{listener}.scram-sha-256.sasl.jaas.config": f"{MODULES}.scram.ScramLoginModule "
            "required;",
            f"{listener}.scram-sha-512.sasl.jaas.config": f"{MODULES}.scram.ScramLoginModule "
            "required;",
            f"{listener}.plain.connections.max.reauth.ms": str(int(SESSION_S * 1000)),
            f"{listener}.ssl.keystore.type": "PEM",
            f"{listener}.ssl.keystore.location": str(_keystore(folder, authority)),
        }
        quorum = Quorum(new_cluster_id(), {1: controller})
        self.broker = LocalBroker(folder / "broker", port, overrides=overrides, quorum=quorum)

    def properties(self, mechanism: str, password: str = PASSWORD) -> dict[str, Any]:
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.authority),
            "sasl.mechanism": mechanism,
            "sasl.username": USER,
            "sasl.password": password,
        }


def _keystore(folder: Path, authority: trustme.CA) -> Path:
    """Write the broker's key, in the one format that Kafka reads, and its certificate."""
    issued = authority.issue_cert(HOST)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    path = folder / "broker.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    )
    return path


def ssl_hash(certificate: Path) -> str:
    """Return the name under which OpenSSL looks for an authority in a folder."""
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    need_jars()
    cluster = Secured(tmp_path_factory.mktemp("secured"))
    with short_lived(), cluster.broker:
        admin = connect(cluster.open)
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            info = ScramCredentialInfo(mechanism, 4_096)
            user = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
            for altered in admin.alter_user_scram_credentials([user]).values():
                altered.result(30)
        yield cluster


@workflow.define
async def doubled(number: int) -> int:
    await asyncio.sleep(0.01)
    return number * 2


def run(secured: Secured, namespace: str, folder: Path, kafka: dict[str, Any], work: Any) -> Any:
    async def main() -> Any:
        worker = Worker(
            secured.servers,
            namespace=namespace,
            workflows=[doubled],
            state_dir=folder,
            kafka=kafka,
        )
        client = Client(secured.servers, namespace=namespace, kafka=kafka)
        async with asyncio.timeout(60), worker, client:
            return await work(client)

    prepare(secured.open, namespace)
    return asyncio.run(main())


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_workflows_run_over_tls_and_sasl(
    secured: Secured,
    namespace: str,
    tmp_path: Path,
    mechanism: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(client: Client) -> list[int]:
        return await asyncio.gather(*(client.run(doubled, n, id=f"w-{n}") for n in range(20)))

    caplog.set_level(logging.INFO)
    kafka = secured.properties(mechanism)
    results = run(secured, namespace, tmp_path, kafka, work)
    assert results == [2 * number for number in range(20)]
    assert "sent by the native producer" in caplog.text


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_views_are_fed_over_tls_and_sasl(
    secured: Secured, namespace: str, tmp_path: Path, mechanism: str
) -> None:
    kafka = secured.properties(mechanism)
    prepare(secured.open, namespace)

    async def main() -> None:
        async with asyncio.timeout(60):
            await up_to_date(KafkaSettings(secured.servers, namespace, kafka), tmp_path)

    asyncio.run(main())


def test_authorities_may_be_in_a_folder(
    secured: Secured, namespace: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """For our producer, and for librdkafka's consumers beside it."""
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "ours.pem").write_bytes(secured.authority.read_bytes())
    digest = ssl_hash(secured.authority)
    (folder / f"{digest}.0").symlink_to("ours.pem")
    (folder / "README").write_text("of this cluster")

    async def work(client: Client) -> int:
        return await client.run(doubled, 21, id="w")

    caplog.set_level(logging.INFO)
    kafka = {**secured.properties("SCRAM-SHA-256"), "ssl.ca.location": str(folder)}
    assert run(secured, namespace, tmp_path, kafka, work) == 42
    assert "records are sent by the native producer" in caplog.text


def test_what_ours_does_not_speak_goes_through_librdkafka(
    secured: Secured, namespace: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(client: Client) -> list[int]:
        return await asyncio.gather(*(client.run(doubled, n, id=f"w-{n}") for n in range(20)))

    caplog.set_level(logging.INFO)
    kafka = {
        **secured.properties("PLAIN"),
        "ssl.cipher.suites": "DEFAULT",
        "producer": "librdkafka",
    }
    assert run(secured, namespace, tmp_path, kafka, work) == [2 * n for n in range(20)]
    assert (
        "records are sent by librdkafka's producer: the property producer names it" in caplog.text
    )


def test_a_session_that_ends_is_begun_anew_in_time(
    secured: Secured, namespace: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker hangs up on who sends something after the end of its session."""

    async def work(client: Client) -> int:
        number, begun = 0, time.monotonic()
        while time.monotonic() < begun + 2 * SESSION_S:
            assert await client.run(doubled, number, id=f"w-{number}") == 2 * number
            number += 1
        return number

    caplog.set_level(logging.INFO)
    assert run(secured, namespace, tmp_path, secured.properties("PLAIN"), work) > 10
    assert "the broker closed the connection" not in caplog.text


def test_the_command_line_takes_properties_from_a_file(
    secured: Secured, namespace: str, tmp_path: Path, processor: Processor, invoke: Invoke
) -> None:
    """The file of a cloud's console: it names the servers as well."""
    properties = {"bootstrap.servers": secured.servers, **secured.properties("SCRAM-SHA-512")}
    config = tmp_path / "client.properties"
    config.write_text("# mine\n\n" + "".join(f"{n} = {v}\n" for n, v in properties.items()))
    where = (f"--kafka-config={config}", f"--namespace={namespace}")
    done = invoke("topics", "apply", "--partitions=2", *where)
    assert done.exit_code == 0, done.output
    worker = processor("worker", "examples.orders", *where)
    assert worker.stderr is not None
    for _ in range(2):
        assert any("is ours" in line for line in worker.stderr)
    order = '{"id": "A-1", "amount": 10, "follow_up_s": 0.01}'
    done = invoke("run", "order_processing", order, "--timeout=60", *where)
    assert done.exit_code == 0, done.output
    worker.terminate()
    worker.communicate(timeout=60)
    measured = invoke("bench", "--seconds=0.5", "--partitions=1", "--json", where[0])
    assert measured.exit_code == 0, measured.output
    config.write_text(f"{config.read_text()}ssl.truststore.location=a.jks\n")
    refused = invoke("topics", "check", *where)
    assert refused.exit_code == 3
    assert "does not accept a property (Java TrustStores are not supported" in refused.stderr


def test_a_wrong_password_is_told(secured: Secured, namespace: str) -> None:
    async def main() -> None:
        kafka = secured.properties("PLAIN", "wrong")
        async with Client(secured.servers, namespace=namespace, kafka=kafka):
            pytest.fail("let in")

    with pytest.raises(ShardUnavailable, match=r"(?i)authentication failed.*sasl\.password"):
        asyncio.run(main())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_our_connection_is_not_let_in_with_a_wrong_password(
    secured: Secured, mechanism: str
) -> None:
    security = security_of(secured.properties(mechanism, "wrong"))
    host, _, port = secured.servers.partition(":")
    with pytest.raises(KafkaException) as caught:
        Link(host, int(port), security, "a test")
    assert caught.value.args[0].code() == KafkaError.SASL_AUTHENTICATION_FAILED


def test_a_mechanism_that_the_broker_does_not_take_is_named(secured: Secured) -> None:
    security = Security(security_of(secured.properties("PLAIN")).tls, Sasl("DIGEST", "a", "b"))
    host, _, port = secured.servers.partition(":")
    with pytest.raises(KafkaException, match=r"the broker takes PLAIN, .*SCRAM-.* and not DIGEST"):
        Link(host, int(port), security, "a test")
