"""Numbers of variable length, written: those of Avro's binary form, and of Kafka's records."""

from __future__ import annotations

from typing import Final

__all__ = ("LONGS", "varint")

_SMALL: Final = 8192
_LONGS_MAX: Final = 2 * _SMALL


def varint(number: int) -> bytes:
    """Return a signed number in zigzag coding, seven bits a byte, as Avro and Kafka have it."""
    zigzag = (number << 1) ^ (number >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


class _Longs(dict[int, bytes]):
    """Up to 64 bits each. Small numbers are looked up, and so are the last ones of the others."""

    def __missing__(self, number: int) -> bytes:
        if len(self) >= _LONGS_MAX:
            for old in list(self)[_SMALL:]:
                self.pop(old, None)
        written = self[number] = self._written(number)
        return written

    def _written(self, number: int) -> bytes:
        """Those of the size of an offset or a time are unrolled."""
        z = number << 1
        if 1 << 14 <= z < 1 << 21:
            return bytes((z & 127 | 128, z >> 7 & 127 | 128, z >> 14))
        if 1 << 35 <= z < 1 << 42:
            low = (z & 127 | 128, z >> 7 & 127 | 128, z >> 14 & 127 | 128)
            return bytes((*low, z >> 21 & 127 | 128, z >> 28 & 127 | 128, z >> 35))
        if not -(1 << 63) <= number < 1 << 63:
            raise OverflowError(f"{number} does not fit into 64 bits")
        return varint(number)


LONGS: Final = _Longs((number, varint(number)) for number in range(_SMALL))
"""Each number's varint, by look-up: ``LONGS[number]``."""
