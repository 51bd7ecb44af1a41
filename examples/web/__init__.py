"""Workflows behind HTTP: the pattern of 202 answers with curl, JavaScript and Go; apps of FastAPI and Django."""
