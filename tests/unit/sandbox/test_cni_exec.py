"""Chains of plugins as the sandbox's runtime calls them, with plugins that only take notes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ringbolt.sandbox.cni_exec import Attachment, Cni, CniError, Ended
from ringbolt.sandbox.pod_network import pod_ips

POD = Attachment(
    "cid", "/run/netns/a", "eth0", "IgnoreUnknown=1", {"bandwidth": {"IngressRate": 1}}
)


LATER = Ended(1, b'{"code": 11, "msg": "later", "details": "busy"}', b"", 0.0)


@dataclass
class Calls:
    """Answers each plugin with its name, and notes what it was told."""

    refusing: str = ""
    answer: Ended = LATER
    seen: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, program: Path, variables: Mapping[str, str], stdin: bytes) -> Ended:
        self.variables = variables
        command = variables["CNI_COMMAND"]
        self.seen.append((command, program.name, json.loads(stdin)))
        if self.refusing == command:
            return self.answer
        said = {"from": program.name} if command == "ADD" else None
        return Ended(0, json.dumps(said).encode() if said else b"", b"", 0.25)


@dataclass
class Lab:
    cni: Cni
    calls: Calls
    folder: Path

    def told(self, command: str) -> list[tuple[str, dict[str, Any]]]:
        return [(name, conf) for said, name, conf in self.calls.seen if said == command]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    for name in ("one", "two"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch()
    (tmp_path / "net.d").mkdir()
    write(tmp_path, "1.1.0")
    calls = Calls()
    cni = Cni(tmp_path / "net.d", (tmp_path / "none", tmp_path / "bin"), tmp_path / "cache", calls)
    return Lab(cni, calls, tmp_path)


def write(folder: Path, version: str) -> None:
    plugins = [
        {"type": "one", "key": 1, "capabilities": {"bandwidth": True, "portMappings": True}},
        {"type": "two"},
    ]
    whole = {"name": "net", "cniVersion": version, "plugins": plugins}
    (folder / "net.d" / "10-net.conflist").write_text(json.dumps(whole))


async def test_a_chain_is_added_in_order_each_with_the_result_before(lab: Lab) -> None:
    result, took_s = await lab.cni.add(POD)
    (first, one), (second, two) = lab.told("ADD")
    assert (first, second, result, took_s) == ("one", "two", {"from": "two"}, 0.5)
    assert one["runtimeConfig"] == {"bandwidth": {"IngressRate": 1}}
    assert (one["name"], one["cniVersion"], one["key"]) == ("net", "1.1.0", 1)
    assert "capabilities" in one  # libcni leaves it there
    assert "prevResult" not in one
    assert (two["prevResult"], "runtimeConfig" in two) == ({"from": "one"}, False)
    assert lab.calls.variables == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "cid",
        "CNI_NETNS": "/run/netns/a",
        "CNI_ARGS": "IgnoreUnknown=1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": f"{lab.folder / 'none'}:{lab.folder / 'bin'}",
    }


async def test_a_chain_is_deleted_in_reverse_with_the_result_of_the_add(lab: Lab) -> None:
    await lab.cni.add(POD)
    assert await lab.cni.delete(replace(POD, netns="")) == 0.5
    told = lab.told("DEL")
    assert [name for name, _ in told] == ["two", "one"]
    assert all(conf["prevResult"] == {"from": "two"} for _, conf in told)
    await lab.cni.delete(POD)  # the cache went with it
    assert all("prevResult" not in conf for _, conf in lab.told("DEL")[2:])


@pytest.mark.parametrize("broken", [b"", b"[]", b'{"result": 1}'])
async def test_a_broken_cache_keeps_no_pod_attached(lab: Lab, broken: bytes) -> None:
    await lab.cni.add(POD)
    (lab.folder / "cache/results/net-cid-eth0").write_bytes(broken)
    await lab.cni.delete(POD)
    assert all("prevResult" not in conf for _, conf in lab.told("DEL"))


async def test_the_cache_says_what_libcni_would(lab: Lab) -> None:
    await lab.cni.add(POD)
    whole = json.loads((lab.folder / "cache/results/net-cid-eth0").read_bytes())
    assert (whole["kind"], whole["networkName"]) == ("cniCacheV1", "net")
    assert whole["cniArgs"] == [["IgnoreUnknown", "1"]]
    assert whole["result"] == {"from": "two"}


async def test_old_versions_have_no_result_at_del_and_no_status(lab: Lab) -> None:
    write(lab.folder, "0.3.1")
    await lab.cni.add(POD)
    await lab.cni.delete(POD)
    await lab.cni.status()
    assert all("prevResult" not in conf for _, conf in lab.told("DEL"))
    assert lab.told("STATUS") == []


async def test_status_asks_every_plugin_about_nobody(lab: Lab) -> None:
    await lab.cni.status()
    assert [name for name, _ in lab.told("STATUS")] == ["one", "two"]
    assert lab.calls.variables["CNI_CONTAINERID"] == lab.calls.variables["CNI_NETNS"] == ""


async def test_a_refusal_has_the_plugins_code_and_words_and_ends_the_chain(lab: Lab) -> None:
    lab.calls.refusing = "DEL"
    with pytest.raises(CniError, match=r'plugin type="two" failed \(del\): later; busy') as refused:
        await lab.cni.delete(POD)
    assert refused.value.code == 11
    assert len(lab.told("DEL")) == 1


async def test_a_plugin_without_words_is_quoted(lab: Lab) -> None:
    lab.calls.refusing = "ADD"
    lab.calls.answer = Ended(2, b"", b"Traceback", 0.0)
    with pytest.raises(CniError, match=r"no error message.*Traceback"):
        await lab.cni.add(POD)
    lab.calls.answer = Ended(0, b"not JSON", b"", 0.0)
    with pytest.raises(CniError, match="answered no result"):
        await lab.cni.add(POD)


async def test_a_missing_plugin_is_named_with_where_it_was_sought(lab: Lab) -> None:
    (lab.folder / "bin/two").unlink()
    with pytest.raises(CniError, match=r'failed to find plugin "two" in path .*none.*bin'):
        await lab.cni.add(POD)


def test_the_addresses_of_eth0_count_ipv4_first() -> None:
    interfaces = [{"name": "br0"}, {"name": "eth0"}]
    ips = [
        {"interface": 1, "address": "fd00::2/64"},
        {"interface": 1, "address": "10.0.0.2/24"},
        {"interface": 0, "address": "10.0.0.1/24"},
    ]
    assert pod_ips({"interfaces": interfaces, "ips": ips}) == ("10.0.0.2", "fd00::2")


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"interfaces": [{"name": "eth0"}], "ips": []},
        {"interfaces": [{"name": "eth0"}], "ips": [{"interface": 1, "address": "10.0.0.2/24"}]},
        {"interfaces": [{"name": "eth0"}], "ips": [{"address": "10.0.0.2/24"}]},
        {"interfaces": [{"name": "eth0"}], "ips": [{"interface": 0, "address": "x"}]},
        {"interfaces": [{"name": "eth1"}], "ips": [{"interface": 0, "address": "10.0.0.2/24"}]},
    ],
)
def test_a_result_without_an_address_of_eth0_is_refused(result: dict[str, Any]) -> None:
    with pytest.raises(CniError):
        pod_ips(result)
