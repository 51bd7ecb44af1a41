"""The Kafka runtime: the ports of the shard over a real broker, and the topics they need."""
