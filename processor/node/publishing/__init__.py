"""What a process publishes in transactions, exactly once: decided here, and sent by an adapter."""
