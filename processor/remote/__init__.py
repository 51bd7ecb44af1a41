"""A client's way to a namespace over its HTTP API."""
