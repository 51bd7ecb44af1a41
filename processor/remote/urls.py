"""Texts as parts of URLs."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

__all__ = ("url_part",)

_PLAIN: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*")
_DOTS: Final = {".": "%2E", "..": "%2E%2E"}
"""Clients and proxies take these out of paths where they are written as they are."""


def url_part(text: str) -> str:
    """Return a text as one part of a URL's path, or as a value of its query."""
    if _PLAIN.fullmatch(text) is not None:  # most ids: much cheaper
        return text
    return _DOTS.get(text) or quote(text, safe="")
