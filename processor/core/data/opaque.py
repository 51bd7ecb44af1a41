"""Several parts as one text that may stand in a URL: base64url, with spaces between the parts."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

__all__ = ("opaque", "parts_of_opaque")


def opaque(*parts: object) -> str:
    """Return a text of letters, digits, ``-`` and ``_``. Only the last part may have spaces."""
    assert not any(" " in str(each) for each in parts[:-1]), "spaces tell the parts apart"
    plain = " ".join(map(str, parts))
    return urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def parts_of_opaque(text: str, count: int) -> list[str]:
    """Return so many parts of a text. Raises ``ValueError`` where it does not hold as many."""
    plain = urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode()
    parts = plain.split(" ", count - 1)
    if len(parts) != count:
        raise ValueError(f"{plain!r} has not {count} parts")
    return parts
