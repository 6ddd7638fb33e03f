"""Structures and numbers of the kernel's headers."""

from hypothesis import given
from hypothesis import strategies as st

from ringbolt.linux import ioctls, loop


def test_request_numbers_are_those_of_the_headers() -> None:
    assert ioctls.io(0x12, 104) == 0x1268  # BLKSSZGET
    assert ioctls.ior(0x12, 114, 8) == 0x80081272  # BLKGETSIZE64
    assert ioctls.iow(0x94, 9, 4) == 0x40049409  # FICLONE
    assert ioctls.iowr(ord("f"), 23, 64) == 0xC0406617  # FS_IOC_ADD_ENCRYPTION_KEY's kind


@given(st.binary(min_size=232, max_size=232))
def test_any_status_is_read(data: bytes) -> None:
    found = loop.parse_status(data)
    assert found.device == int.from_bytes(data[:8], "little")
    assert found.inode == int.from_bytes(data[8:16], "little")
    assert found.flags == int.from_bytes(data[52:56], "little")
    assert "\0" not in found.name
