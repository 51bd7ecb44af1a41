"""Clients of Kafka: configured, shared, served and watched, and how records are sent."""
