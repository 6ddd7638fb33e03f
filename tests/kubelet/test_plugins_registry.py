"""The embedded kubelet's other way in: sockets below plugins_registry/."""

import pytest

from protos import pluginregistration_v1_pb2 as registration
from ringbolt.sandbox.device_table import Quantity
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.generation import V1_20
from ringbolt.sandbox.kubelet import Kubelet
from tests.kubelet.fake_plugin import FakePlugin
from tests.kubelet.test_registration import WAIT_S, offers


async def told(kubelet: Kubelet, plugin: FakePlugin, text: str) -> None:
    """The plugin is told why it is refused; in 1.36 the kubelet tries on."""
    await kubelet.wait_for_event(lambda e: text in e.text, WAIT_S)
    assert plugin.notices[0] == registration.RegistrationStatus(
        error=plugin.notices[0].error, plugin_registered=False
    )
    assert text in plugin.notices[0].error


async def test_a_socket_is_found_wherever_it_lies(kubelet: Kubelet) -> None:
    folder = kubelet.root / "plugins_registry" / "deeper"
    folder.mkdir()
    async with FakePlugin(folder / "fake.sock") as plugin:
        await offers(kubelet, Quantity(3, 3))
        await kubelet.wait_for(lambda: bool(plugin.notices), WAIT_S)
    assert plugin.notices == [registration.RegistrationStatus(plugin_registered=True)]


async def test_names_that_start_with_a_dot_are_ignored(kubelet: Kubelet) -> None:
    registry = kubelet.root / "plugins_registry"
    async with FakePlugin(registry / ".hidden.sock", "example.com/hidden"):
        async with FakePlugin(registry / "seen.sock"):
            await offers(kubelet, Quantity(3, 3))
        assert "example.com/hidden" not in kubelet.node_status()


async def test_the_kubelet_finds_the_socket_again_after_its_restart(kubelet: Kubelet) -> None:
    async with FakePlugin(kubelet.root / "plugins_registry" / "fake.sock"):
        await offers(kubelet, Quantity(3, 3))
        await kubelet.restart()
        await offers(kubelet, Quantity(3, 3))


async def test_a_socket_that_goes_takes_its_devices_along(kubelet: Kubelet) -> None:
    async with FakePlugin(kubelet.root / "plugins_registry" / "fake.sock") as plugin:
        await offers(kubelet, Quantity(3, 3))
        plugin.socket.unlink()
        await offers(kubelet, Quantity(3, 0))


async def test_a_socket_made_anew_is_registered_anew(kubelet: Kubelet) -> None:
    socket = kubelet.root / "plugins_registry" / "fake.sock"
    async with FakePlugin(socket):
        await offers(kubelet, Quantity(3, 3))
    async with FakePlugin(socket):
        mark = len(kubelet.log)
        await kubelet.wait_for(lambda: kubelet.log.of(EventKind.LIST, "", mark), WAIT_S)
        await offers(kubelet, Quantity(3, 3))


async def test_another_endpoint_may_serve_the_plugin(kubelet: Kubelet) -> None:
    elsewhere = kubelet.root / "served.sock"
    async with FakePlugin(elsewhere):
        registry = kubelet.root / "plugins_registry"
        async with FakePlugin(registry / "fake.sock") as plugin:
            plugin.devices = ()
            plugin.info.endpoint = str(elsewhere)
            await offers(kubelet, Quantity(3, 3))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            registration.PluginInfo(type="SoundPlugin"),
            "no handler registered for plugin type: SoundPlugin at socket",
        ),
        (
            registration.PluginInfo(supported_versions=["v7"]),
            (
                "plugin validation failed with err: manager version, v1beta1, is not among plugin "
                "supported versions [v7]"
            ),
        ),
        (
            registration.PluginInfo(name="thing"),
            (
                "plugin validation failed with err: invalid name of device plugin socket: "
                'the ResourceName "thing" is invalid'
            ),
        ),
    ],
)
async def test_refuses_with_the_kubelets_words(
    kubelet: Kubelet, wrong: registration.PluginInfo, text: str
) -> None:
    plugin = FakePlugin(kubelet.root / "plugins_registry" / "fake.sock")
    plugin.info.ClearField("supported_versions")
    plugin.info.MergeFrom(wrong)
    plugin.info.supported_versions[:] = wrong.supported_versions or ["v1beta1"]
    async with plugin:
        await told(kubelet, plugin, f"RegisterPlugin error -- {text}")


async def test_a_plugin_that_mends_itself_is_tried_again(kubelet: Kubelet) -> None:
    plugin = FakePlugin(kubelet.root / "plugins_registry" / "fake.sock")
    plugin.info.name = "thing"
    async with plugin:
        await kubelet.wait_for(lambda: bool(plugin.notices), WAIT_S)
        plugin.info.name = plugin.resource
        await offers(kubelet, Quantity(3, 3))


async def test_a_failed_connection_is_retried_from_1_36_on(kubelet: Kubelet) -> None:
    plugin = FakePlugin(kubelet.root / "plugins_registry" / "fake.sock")
    plugin.info.endpoint = str(kubelet.root / "later.sock")
    async with plugin:
        await told(kubelet, plugin, "plugin registration failed with err: failed to dial")
        async with FakePlugin(kubelet.root / "later.sock"):
            if kubelet.generation is V1_20:
                assert "example.com/thing" not in kubelet.node_status()
            else:
                await offers(kubelet, Quantity(3, 3))
