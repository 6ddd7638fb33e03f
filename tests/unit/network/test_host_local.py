"""The directory of host-local, as it is found on nodes."""

import ipaddress
from pathlib import Path

from ringbolt.network.host_local import read_store


def test_what_is_held_is_read_and_what_was_lost_is_not(tmp_path: Path) -> None:
    (tmp_path / "10.0.0.2").write_bytes(b"one\r\neth0")
    (tmp_path / "fd00::2").write_bytes(b"one\r\neth0")
    (tmp_path / "10.0.0.3").write_bytes(b"old")
    (tmp_path / "10.0.0.4").write_bytes(b"")
    (tmp_path / "lock").write_bytes(b"")
    (tmp_path / "last_reserved_ip.0").write_bytes(b"10.0.0.4")
    assert read_store(tmp_path, 0) == {
        ("one", "eth0"): (ipaddress.ip_address("10.0.0.2"), ipaddress.ip_address("fd00::2")),
        ("old", "eth0"): (ipaddress.ip_address("10.0.0.3"),),
    }


def test_what_is_older_than_the_boot_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "10.0.0.2"
    path.write_bytes(b"one\r\neth0")
    assert read_store(tmp_path, path.stat().st_mtime + 1) == {}
