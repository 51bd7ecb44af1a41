"""Feeds views from ``events`` of a Kafka namespace, with Faust. Nothing else imports Faust."""
