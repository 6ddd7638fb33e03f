"""The embedded kubelet's pure parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.checkpoint import CheckpointError, decode, encode
from ringbolt.sandbox.pod_devices import Allocation, Holding, PodDevices
from ringbolt.sandbox.resource_name import is_extended_resource_name
from ringbolt.sandbox.run_options import HostDevice, HostMount, merge_answers
from ringbolt.sandbox.wire_checks import check_answer

TEXT = st.text(max_size=20)
ANSWERS = st.builds(
    v1beta1.ContainerAllocateResponse,
    envs=st.dictionaries(TEXT, TEXT, max_size=3),
    annotations=st.dictionaries(TEXT, TEXT, max_size=3),
)
ALLOCATIONS = st.builds(
    Allocation,
    st.dictionaries(st.integers(-1, 8), st.lists(TEXT, min_size=1).map(tuple), max_size=3),
    ANSWERS,
)
HOLDINGS = st.lists(st.builds(Holding, TEXT, TEXT, TEXT, ALLOCATIONS), max_size=4)


@given(HOLDINGS, st.dictionaries(TEXT, st.sets(TEXT), max_size=3))
def test_a_checkpoint_gives_back_what_was_put_in(
    holdings: list[Holding], registered: dict[str, set[str]]
) -> None:
    assert decode(encode(holdings, registered)) == (tuple(holdings), tuple(sorted(registered)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"Data": {}, "Checksum": 1}',
        encode((), {"a/b": ["x"]}).replace("x", "y"),
    ],
)
def test_a_damaged_checkpoint_is_told_from_a_whole_one(text: str) -> None:
    with pytest.raises(CheckpointError):
        decode(text)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("ringbolt.dev/serial", True),
        ("a/B_c.d-e", True),
        ("a/" + "x" * 63, True),
        ("x" * 244 + "/y", True),
        ("a/" + "x" * 64, False),
        ("x" * 245 + "/y", False),
        ("serial", False),
        ("kubernetes.io/x", False),
        ("node.kubernetes.io/x", False),
        ("requests.a/b", False),
        ("A/b", False),
        ("a/-b", False),
        ("a/b-", False),
        ("a/", False),
        ("/b", False),
        ("a/b/c", False),
        ("a_b/c", False),
    ],
)
def test_extended_resource_names(name: str, *, valid: bool) -> None:
    assert is_extended_resource_name(name) is valid


def test_the_first_answer_wins() -> None:
    first = v1beta1.ContainerAllocateResponse(
        envs={"A": "1", "B": "1"},
        devices=[v1beta1.DeviceSpec(host_path="/h1", container_path="/c", permissions="rw")],
        mounts=[v1beta1.Mount(host_path="/m1", container_path="/m", read_only=True)],
        cdi_devices=[v1beta1.CDIDevice(name="x/y=z")],
    )
    second = v1beta1.ContainerAllocateResponse(
        envs={"A": "2", "B": "1", "C": "2"},
        devices=[v1beta1.DeviceSpec(host_path="/h2", container_path="/c", permissions="r")],
        mounts=[v1beta1.Mount(host_path="/m2", container_path="/m")],
        cdi_devices=[v1beta1.CDIDevice(name="x/y=z")],
    )
    options, conflicts = merge_answers((first, second), cdi=True)
    assert options.env == {"A": "1", "B": "1", "C": "2"}
    assert options.devices == (HostDevice("/h1", "/c", "rw"),)
    assert options.mounts == (HostMount("/m1", "/m", readonly=True),)
    assert options.cdi_devices == ("x/y=z",)
    assert [text.split(":")[0] for text in conflicts] == ["env A", "device /c", "mount /m"]
    assert merge_answers((first,), cdi=False)[0].cdi_devices == ()


def test_pod_devices_forget_pods_that_are_gone() -> None:
    held = PodDevices()
    answer = v1beta1.ContainerAllocateResponse()
    for pod in ("one", "two"):
        held.insert(Holding(pod, "main", "a/b", Allocation({-1: (pod,)}, answer)))
    assert held.allocated() == {"a/b": {"one", "two"}}
    assert held.keep_only({"two"})
    assert held.allocated() == {"a/b": {"two"}}
    assert not held.keep_only({"two"})


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (("/h", "/c", "rw"), 0),
        (("/h", "/c", ""), 1),
        (("/h", "/c", "rwx"), 1),
        (("h", "/c", "r"), 1),
    ],
)
def test_device_specs_are_checked(spec: tuple[str, str, str], wrong: int) -> None:
    host, inside, permissions = spec
    device = v1beta1.DeviceSpec(host_path=host, container_path=inside, permissions=permissions)
    response = v1beta1.ContainerAllocateResponse(devices=[device])
    found = list(check_answer(v1beta1.AllocateResponse(container_responses=[response])))
    assert len(found) == wrong
