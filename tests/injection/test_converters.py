"""A converter stands in place of JSON; and what ``payloads=`` does not take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import InvalidArgument, PayloadCodec
from processor.client.client import Client
from processor.injection.payloads import encoding_of, labelled
from processor.testing import Environment
from tests.injection.codecs import Repr, Sealed
from tests.injection.test_payloads import TOLD, charge, pay, played, refuse


def test_a_converter_stands_in_place_of_json() -> None:
    async def main() -> None:
        for payloads in (Repr(), [Repr(), Sealed()]):
            env = Environment([pay], [charge, refuse], payloads=payloads, max_cached_runs=0)
            async with env:
                assert await played(env) == TOLD
                assert (await env.handle("run").describe()).result == TOLD

    asyncio.run(main())


def test_json_of_others_is_read_beside_a_converter() -> None:
    payloads = Environment(payloads=Repr())._calls.payloads
    assert payloads.decoder(dict[str, int])(b'{"a":1}') == {"a": 1}
    assert payloads.decoder(set[int])(payloads.encode({1, 2})) == {1, 2}
    assert (
        payloads.difference(payloads.encode({1}), payloads.encode({2})) == "it was {1} and is {2}"
    )
    assert payloads.difference(b"1", payloads.encode(1)) == ""
    assert payloads.difference(b"raw", b"bytes") == "it was b'raw' and is b'bytes'"


def nameless() -> PayloadCodec:
    class Nameless(Sealed):
        name = ""

    return Nameless()


REFUSED: list[tuple[Any, str]] = [
    ("fernet", r"payloads: give a list such as \[Encryption\(key\)\], of objects of a class "
     r"derived from processor.PayloadCodec or processor.PayloadConverter, not 'f'"),
    (Sealed, "payloads: give a list .*: make one of this class"),
    ([Sealed(), Sealed()], "payloads: sealed, sealed: each has a name of its own"),
    ([Sealed(), Repr()], "payloads: a PayloadConverter comes first, and alone"),
    ([nameless()], r"payloads: Nameless.name: give a text of 1 to 100 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "error"), REFUSED)
def test_what_is_no_codec_is_refused_at_the_call(given: Any, error: str) -> None:
    with pytest.raises(InvalidArgument, match=f"Environment: {error}"):
        Environment(payloads=given)
    with pytest.raises(InvalidArgument, match=f"Client: {error}"):
        Client("localhost:9092", payloads=given)


def test_labels_are_read_back() -> None:
    assert encoding_of(labelled("é", b"data")) == "é"
    assert encoding_of(b"") == encoding_of(b"1") == ""
