"""Search attributes: what is one, and the bytes that say them."""

from processor.attributes.values import (
    BYTES_MAX,
    COUNT_MAX,
    FIELDS,
    VALUE_BYTES_MAX,
    Attributes,
    AttributeValue,
    changed,
    check_encoded,
    decode,
    encode,
    encoded,
    of_plain,
    to_plain,
)

__all__ = (
    "BYTES_MAX",
    "COUNT_MAX",
    "FIELDS",
    "VALUE_BYTES_MAX",
    "AttributeValue",
    "Attributes",
    "changed",
    "check_encoded",
    "decode",
    "encode",
    "encoded",
    "of_plain",
    "to_plain",
)
