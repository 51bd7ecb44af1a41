"""Workflows behind HTTP: the pattern of 202 answers with curl and JavaScript, and a FastAPI app."""
