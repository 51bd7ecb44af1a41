"""Connections on Kafka: a group that reads a topic of the user's, and sends commands."""
