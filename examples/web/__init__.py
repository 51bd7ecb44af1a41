"""Workflows behind HTTP: 202 answers with curl, JavaScript and Go; apps of FastAPI and Django."""
