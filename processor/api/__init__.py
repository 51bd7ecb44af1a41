"""The HTTP API: a server in the process of a worker or a client, and its options."""

from __future__ import annotations

from processor.api.options import HttpOptions

__all__ = ("HttpOptions",)
