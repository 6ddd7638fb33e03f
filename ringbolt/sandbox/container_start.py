"""What the kubelet does for a container's devices before every start of it, restarts included.

Source: kubelet pkg/kubelet/cm/devicemanager/manager.go, GetDeviceRunContainerOptions.
"""

from ringbolt.sandbox.allocator import AllocationError
from ringbolt.sandbox.device_manager import DeviceManager
from ringbolt.sandbox.endpoint import CallError, call_text, no_endpoint_text
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.pod import ContainerSpec, Pod
from ringbolt.sandbox.run_options import RunOptions, merge_answers


async def pre_start(manager: DeviceManager, pod: Pod, container: ContainerSpec) -> None:
    """PreStartContainer for each resource whose plugin wants it. Raises AllocationError."""
    for resource, size in container.limits.items():
        if size and manager.is_plugin_resource(resource):
            await _pre_start_resource(manager, (pod.uid, container.name), resource)


async def _pre_start_resource(
    manager: DeviceManager, place: tuple[str, str], resource: str
) -> None:
    endpoint = manager.table.endpoints.get(resource)
    if endpoint is None:
        raise AllocationError(no_endpoint_text(resource))
    if not endpoint.options.pre_start_required:
        return
    held = manager.held.ids(*place, resource)
    if held is None:
        raise AllocationError(
            f"no devices found allocated in local cache for pod {place[0]}, "
            f"container {place[1]}, resource {resource}"
        )
    try:
        await endpoint.pre_start(manager.shuffled(held), manager.settings.timings.prestart_s)
    except CallError as error:
        raise AllocationError(
            f"device plugin PreStartContainer rpc failed with err: {call_text(error)}"
        ) from error
    manager.log.publish(EventKind.PRE_STARTED, resource=resource, place=place)


def lacks_devices(manager: DeviceManager, pod: Pod, container: ContainerSpec) -> bool:
    """A resource that nobody had registered at admission and somebody has since."""
    return any(
        size and manager.is_plugin_resource(resource) and resource not in held
        for held in (manager.held.of(pod.uid, container.name),)
        for resource, size in container.limits.items()
    )


def cached_options(manager: DeviceManager, pod: Pod, container: ContainerSpec) -> RunOptions:
    """The plugins' answers as they were given at admission, put together."""
    held = manager.held.of(pod.uid, container.name).values()
    options, conflicts = merge_answers(
        (allocation.answer for allocation in held), cdi=manager.generation.cdi_devices
    )
    for text in conflicts:
        manager.log.publish(EventKind.CONFLICT, text, place=(pod.uid, container.name))
    return options
