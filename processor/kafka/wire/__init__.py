"""Kafka's protocol as far as a producer speaks it, from record batches to connections.

librdkafka sends a request for each partition, and a broker takes one request of a connection at a
time: a process with eight shards pays eight times for what is one append. The producer in here
sends one request for all partitions that a broker leads (``docs/performance.md``).
"""
