"""Networks are read where runtimes read them; what cannot be read is said and passed over."""

import json
from pathlib import Path
from typing import Any

from daemon.cni_networks import read_networks
from ringbolt.network.settings import NetworkName

OURS = {"type": "ringbolt", "bridge": "rb7", "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}]]}}


def write(folder: Path, name: str, *plugins: Any) -> None:
    wire = {"cniVersion": "1.0.0", "name": name, "plugins": list(plugins)}
    (folder / f"{name}.conflist").write_text(json.dumps(wire))


def test_a_list_gives_the_settings_of_our_plugin_alone(tmp_path: Path) -> None:
    write(tmp_path, "pods", {"type": "portmap"}, OURS)
    write(tmp_path, "others", {"type": "bridge"})
    lacks: list[str] = []
    (settings,) = read_networks(tmp_path, lacks).values()
    assert (settings.name, settings.bridge, lacks) == ("pods", "rb7", [])
    assert [str(one[0].subnet) for one in settings.ranges] == ["10.1.0.0/24"]


def test_a_single_plugin_and_a_delegate_are_understood(tmp_path: Path) -> None:
    delegated = OURS | {"name": "one", "ipam": {"type": "host-local", "subnet": "10.2.0.0/24"}}
    (tmp_path / "one.conf").write_text(json.dumps(delegated))
    assert read_networks(tmp_path, [])[NetworkName("one")].ranges == ()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    write(tmp_path, "pods", OURS)
    write(tmp_path, "wrong", OURS | {"mode": "astral"})
    (tmp_path / "torn.conflist").write_text('{"name": ')
    (tmp_path / "list.conf").write_text("[]")
    lacks: list[str] = []
    assert list(read_networks(tmp_path, lacks)) == ["pods"]
    assert [lack.split(":")[0].split("/")[-1] for lack in lacks] == [
        "torn.conflist is passed over",
        "wrong.conflist is passed over",
    ]


def test_a_folder_that_is_not_there_has_no_networks(tmp_path: Path) -> None:
    lacks: list[str] = []
    assert (read_networks(tmp_path / "none", lacks), lacks) == ({}, [])
