"""A broker for development and tests: Apache Kafka from its jars, on this machine."""
