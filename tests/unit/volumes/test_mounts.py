"""What is mounted where, read from texts of mountinfo."""

from ringbolt.volumes.mounts import Mounts

TEXT = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
60 21 254:0 /k /k rw shared:1 - ext4 /dev/vda rw
90 60 7:1 / /k/stage rw,nosuid,nodev shared:2 - ext4 /dev/loop1 rw,errors=remount-ro
91 60 7:1 /sub /k/a\\040b rw,nosuid,nodev shared:3 - ext4 /dev/loop1 rw
95 94 0:50 / /k/t rw - tmpfs third rw
92 60 0:48 / /k/t rw - tmpfs first rw
94 92 0:49 / /k/t rw - tmpfs second rw
93 60 0:51 / /k/t2 rw - tmpfs other rw
"""


def test_stacked_mounts_are_told_from_below() -> None:
    assert [one.source for one in Mounts(TEXT).at("/k/t")] == ["first", "second", "third"]


def test_a_path_is_exact_and_unescaped() -> None:
    mounts = Mounts(TEXT)
    assert [one.root for one in mounts.at("/k/a b")] == ["/sub"]
    assert [one.source for one in mounts.at("/k/t2")] == ["other"]
    assert mounts.at("/k/a") == ()
    assert mounts.at("/sub") == ()


def test_users_of_a_superblock_are_found() -> None:
    assert [one.target for one in Mounts(TEXT).of((7, 1))] == ["/k/stage", "/k/a b"]
    assert Mounts(TEXT).of((7, 11)) == ()


def test_what_lies_below_is_found_once() -> None:
    below = Mounts(TEXT).below("/k")
    assert len(below) == 6
    assert {one.target for one in below} == {"/k/stage", "/k/a b", "/k/t", "/k/t2"}
    assert Mounts("").below("/") == ()
