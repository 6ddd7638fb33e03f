"""The embedded kubelet's Registration service, its streams and its restarts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import asyncinotify
import grpc.aio
import pytest

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.device_table import Quantity
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.generation import V1_20, V1_36, Generation
from ringbolt.sandbox.kubelet import Kubelet
from ringbolt.sandbox.settings import Settings
from tests.kubelet.conftest import QUICK
from tests.kubelet.fake_plugin import FakePlugin, device
from tests.kubelet.pods import THING, pod_with

WAIT_S = 10.0


def kubelet_socket(kubelet: Kubelet) -> Path:
    return kubelet.plugins_directory / "kubelet.sock"


@asynccontextmanager
async def registered(kubelet: Kubelet, name: str = "fake.sock") -> AsyncIterator[FakePlugin]:
    async with FakePlugin(kubelet.plugins_directory / name) as plugin:
        await plugin.register(kubelet_socket(kubelet))
        await offers(kubelet, Quantity(3, 3))
        yield plugin


async def offers(kubelet: Kubelet, wanted: Quantity) -> None:
    await kubelet.wait_for(lambda: kubelet.node_status().get(THING) == wanted, WAIT_S)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"version": "v1alpha1"},
            (
                'requested API version "v1alpha1" is not supported by kubelet. '
                'Supported version is ["v1beta1"]'
            ),
        ),
        ({"resource_name": "thing"}, 'the ResourceName "thing" is invalid'),
        ({"resource_name": "kubernetes.io/x"}, 'the ResourceName "kubernetes.io/x" is invalid'),
        ({"resource_name": "requests.a/b"}, 'the ResourceName "requests.a/b" is invalid'),
        ({"resource_name": "a/b/c"}, 'the ResourceName "a/b/c" is invalid'),
    ],
)
async def test_refuses_with_the_kubelets_words(
    kubelet: Kubelet, fields: dict[str, str], text: str
) -> None:
    async with FakePlugin(kubelet.plugins_directory / "fake.sock") as plugin:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await plugin.register(kubelet_socket(kubelet), **fields)
    assert (refusal.value.code(), refusal.value.details()) == (grpc.StatusCode.UNKNOWN, text)


async def test_register_dials_back_before_or_after_it_answers(
    root: Path, generation: Generation
) -> None:
    settings = Settings(timings=replace(QUICK, dial_s=0.1))
    async with Kubelet(root, generation, settings) as kubelet:
        plugin = FakePlugin(kubelet.plugins_directory / "nobody.sock")
        with suppress(grpc.aio.AioRpcError):
            await plugin.register(kubelet_socket(kubelet))
            assert generation is V1_20
        refusal = await kubelet.wait_for_event(lambda e: e.kind is EventKind.REFUSED, WAIT_S)
        assert refusal.text == "failed to dial device plugin: context deadline exceeded"
        await plugin.stop()


async def test_options_come_from_the_call_or_from_the_request(kubelet: Kubelet) -> None:
    async with FakePlugin(kubelet.plugins_directory / "fake.sock") as plugin:
        plugin.options = v1beta1.DevicePluginOptions()
        asked = v1beta1.DevicePluginOptions(pre_start_required=True)
        await plugin.register(kubelet_socket(kubelet), options=asked)
        await offers(kubelet, Quantity(3, 3))
        pod = pod_with(1)
        await kubelet.admit(pod)
        await kubelet.run_options(pod.uid, "main")
    assert bool(plugin.pre_starts) is (kubelet.generation is V1_20)


async def test_a_list_replaces_everything(kubelet: Kubelet) -> None:
    async with registered(kubelet) as plugin:
        plugin.show(device("a"), device("a"), device("z", health="Unhealthy"))
        await offers(kubelet, Quantity(2, 1))
        plugin.show()
        await offers(kubelet, Quantity(0, 0))
        said = [event.text for event in kubelet.log.of(EventKind.VIOLATION)]
        assert said == ["a is listed 2 times; ids are a set"]


async def test_the_end_of_a_stream_makes_all_unhealthy_at_once(kubelet: Kubelet) -> None:
    async with registered(kubelet) as plugin:
        await plugin.stop()
        await offers(kubelet, Quantity(3, 0))


async def test_a_stopped_plugin_is_dropped_after_the_grace_period(
    root: Path, generation: Generation
) -> None:
    now_s = [0.0]
    settings = Settings(timings=QUICK, clock=lambda: now_s[0])
    async with Kubelet(root, generation, settings) as kubelet:
        async with registered(kubelet):
            pod = pod_with(1)
            await kubelet.admit(pod)
        await offers(kubelet, Quantity(3, 0))
        now_s[0] = 300.5
        assert kubelet.node_status() == {THING: Quantity(0, 0)}
        with pytest.raises(Exception, match="endpoint not found in cache for a registered reso"):
            await kubelet.run_options(pod.uid, "main")


async def test_a_list_over_4_mib_kills_the_stream(kubelet: Kubelet) -> None:
    async with registered(kubelet) as plugin:
        plugin.show(*(device(f"{number:063}") for number in range(60_000)))
        ended = await kubelet.wait_for_event(lambda e: e.kind is EventKind.STREAM_ENDED, WAIT_S)
        assert ended.text.startswith("rpc error: code = ResourceExhausted")
        await offers(kubelet, Quantity(3, 0))


@pytest.mark.parametrize(
    ("drains", "generation", "left"),
    [(False, V1_36, 0), (True, V1_36, 3), (False, V1_20, 3), (True, V1_20, 3)],
    ids=["naive-1.36", "drained-1.36", "naive-1.20", "drained-1.20"],
)
async def test_a_late_end_of_the_old_stream_disconnects_the_new_one(
    kubelet: Kubelet, *, drains: bool, left: int
) -> None:
    async with registered(kubelet, "old.sock") as old:
        if drains:
            await old.stop()
            await kubelet.wait_for(lambda: kubelet.log.of(EventKind.DISCONNECTED), WAIT_S)
        mark = len(kubelet.log)
        async with FakePlugin(kubelet.plugins_directory / "new.sock") as new:
            await new.register(kubelet_socket(kubelet))
            await kubelet.wait_for(lambda: kubelet.log.of(EventKind.LIST, THING, mark), WAIT_S)
            if not drains:
                await old.stop()
                await kubelet.wait_for(lambda: kubelet.log.of(EventKind.STREAM_ENDED), WAIT_S)
            await offers(kubelet, Quantity(3, left))


async def test_two_registrations_of_one_resource_are_both_followed(kubelet: Kubelet) -> None:
    async with registered(kubelet, "one.sock") as one, registered(kubelet, "two.sock") as two:
        two.show(device("x"))
        await offers(kubelet, Quantity(1, 1))
        one.show(device("x"), device("y"))
        await offers(kubelet, Quantity(2, 2))


async def test_a_kubelet_can_forget_to_open_the_stream(kubelet: Kubelet) -> None:
    kubelet.faults.skip_streams = 1
    async with FakePlugin(kubelet.plugins_directory / "fake.sock") as plugin:
        await plugin.register(kubelet_socket(kubelet))
        await kubelet.wait_for(lambda: kubelet.log.of(EventKind.REGISTERED), WAIT_S)
        assert THING not in kubelet.node_status()
        await plugin.register(kubelet_socket(kubelet))
        await offers(kubelet, Quantity(3, 3))


async def test_stopping_leaves_every_file(kubelet: Kubelet) -> None:
    async with registered(kubelet) as plugin:
        before = kubelet_socket(kubelet).stat()
        await kubelet.stop()
        assert plugin.socket.is_socket()
        after = kubelet_socket(kubelet).stat()
        assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
        await kubelet.start()


async def test_starting_wipes_sockets_and_makes_its_own_anew(kubelet: Kubelet) -> None:
    directory = kubelet.plugins_directory
    (directory / "notes").touch()
    (directory / "folder").mkdir()
    (directory / "dangling").symlink_to("nowhere")
    async with registered(kubelet):
        with asyncinotify.Inotify() as inotify:
            watched = asyncinotify.Mask.CREATE | asyncinotify.Mask.DELETE
            inotify.add_watch(directory, watched)
            await kubelet.restart()
            seen: list[str] = []
            while not seen or seen[-1] != "CREATE kubelet.sock":
                event = await inotify.get()
                seen.append(f"{event.mask.name} {event.name}")
    assert [line for line in seen if ".sock" in line] == [
        "DELETE fake.sock",
        "DELETE kubelet.sock",
        "CREATE kubelet.sock",
    ]
    assert (directory / "notes").exists() is (kubelet.generation is V1_36)
    assert {"folder", "dangling", "kubelet_internal_checkpoint"} <= {
        path.name if path.exists() or path.is_symlink() else "" for path in directory.iterdir()
    }
    assert kubelet.node_status() == {THING: Quantity(0, 0)}
