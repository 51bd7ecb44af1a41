"""What waits for its tombstone is found without looking at what has had one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from processor.shard.ports import Changes
from processor.store.keyvalue import Memory
from processor.store.projections import Projections
from processor.store.projections.replaced import replaced_key


class Watched(Memory):
    """A store that tells from where on somebody has looked last."""

    begun = b""

    def scan(self, family: str, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        self.begun = first
        return super().scan(family, first)


def test_who_looks_begins_where_the_first_one_is_and_finds_what_comes_before_it() -> None:
    store = Watched()
    kept = Projections(store)

    def written() -> None:
        store.write(kept.mutations())
        kept.written()

    for number in range(1, 9):
        kept.replaced.replace(number, b"key-%d" % number)
    written()
    nothing = Changes()
    for number in range(1, 9):
        found = kept.replaced.replaced(1 << 40, 2)
        assert found[0] == (number, b"key-%d" % number)
        kept.change(replace(nothing, forgotten=[found[0]]))
        written()
    kept.replaced.replace(9, b"key-9")
    written()
    assert kept.replaced.replaced(1 << 40, 2) == [(9, b"key-9")]
    assert store.begun >= replaced_key(8, b"key-8"), "it passes over what has gone"
    kept.replaced.replace(0, b"ghost")
    assert kept.replaced.replaced(1 << 40, 2) == [(9, b"key-9")], "it is not written yet"
    written()
    assert kept.replaced.replaced(1 << 40, 2) == [(0, b"ghost"), (9, b"key-9")]
