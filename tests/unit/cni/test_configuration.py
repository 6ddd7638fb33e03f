"""What is read again of a configuration, and what is read only once."""

import json
from typing import Any

import pytest

from cni.codes import CniError
from cni.configuration import is_of_all_pods, parse_named, read_configuration
from cni.network_settings import read_settings

NETWORK = {"cniVersion": "1.0.0", "name": "pods", "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}]]}}


def text(**more: Any) -> bytes:
    return json.dumps({**NETWORK, **more}).encode()


def test_what_is_the_same_for_all_pods_is_read_once() -> None:
    fields = parse_named(text(mtu=1400))
    assert parse_named(text(mtu=1400)) is fields
    assert is_of_all_pods(read_configuration(fields, text(mtu=1400)))
    assert parse_named(text(mtu=1300)).raw("mtu") == 1300


@pytest.mark.parametrize(
    "key", ["args", "prevResult", "runtimeConfig", "RUNTIMECONFIG", "cni.dev/valid-attachments"]
)
def test_what_holds_something_of_a_call_is_read_each_time(key: str) -> None:
    stdin = text(**{key: {}})
    assert parse_named(stdin) is not parse_named(stdin)
    assert not is_of_all_pods(read_configuration(parse_named(stdin), stdin))


def test_what_is_long_is_read_each_time() -> None:
    stdin = text(comment="x" * (1 << 14))
    assert parse_named(stdin) is not parse_named(stdin)


def test_many_networks_are_read_right_though_few_are_kept() -> None:
    for _ in range(2):
        for number in range(100):
            stdin = text(bridge=f"br{number}")
            settings = read_settings(read_configuration(parse_named(stdin), stdin))
            assert (settings.bridge, settings.name) == (f"br{number}", "pods")


def test_what_is_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(CniError, match="missing network name"):
            parse_named(b"{}")
