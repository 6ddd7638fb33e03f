"""What the codec's property tests draw from, and how hostile bytes are tried on a decoder."""

import errno
from collections.abc import Callable

import pytest
from hypothesis import strategies as st

INDEXES = st.integers(0, 2**31 - 1)
NUMBERS = st.integers(0, 2**32 - 1)
MACS = st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":"))
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=15)
ADDRESSES = st.ip_addresses()


def assert_decodes_or_refuses(decode: Callable[[bytes], object], data: bytes) -> None:
    """Any bytes give a value or EBADMSG, and nothing else."""
    try:
        decode(data)
    except OSError as error:
        if error.errno != errno.EBADMSG:
            pytest.fail(f"{data!r}: {error!r}")
