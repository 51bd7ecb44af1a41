"""The token that a program sends where it asks over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from processor.errors import InvalidArgument

__all__ = ("TOKEN", "token_headers")

TOKEN: Final = "PROCESSOR_TOKEN"
"""The variable of the environment that has it."""


def token_headers() -> Mapping[str, str]:
    """Return the header that shows the token of the environment; nothing where there is none.

    Raises ``InvalidArgument`` for what can be no token, and does not show it.
    """
    token = os.environ.get(TOKEN, "")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise InvalidArgument(
            f"the environment's {TOKEN} has a space, an end of line or another character that "
            "no token has: set it to the token alone"
        )
    return {"authorization": f"Bearer {token}"} if token else {}
