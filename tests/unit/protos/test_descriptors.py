"""The wire is the kubelet's: names, numbers and types against a table written independently.

The table is transcribed from the contract (k8s.io/kubelet/pkg/apis: deviceplugin/v1beta1,
pluginregistration/v1, podresources/v1), not from our .proto files.
"""

from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from protos import pluginregistration_v1_pb2 as registration
from protos import podresources_v1_pb2 as podresources

# Message: "field=number type ..."; "[]" marks repeated, "?" presence, a capital letter a message.
DEVICE_PLUGIN = {
    "Empty": "",
    "DevicePluginOptions": "pre_start_required=1 bool, get_preferred_allocation_available=2 bool",
    "RegisterRequest": "version=1 string, endpoint=2 string, resource_name=3 string, "
    "options=4 v1beta1.DevicePluginOptions",
    "ListAndWatchResponse": "devices=1 []v1beta1.Device",
    "Device": "ID=1 string, health=2 string, topology=3 v1beta1.TopologyInfo",
    "TopologyInfo": "nodes=1 []v1beta1.NUMANode",
    "NUMANode": "ID=1 int64",
    "PreferredAllocationRequest": "container_requests=1 "
    "[]v1beta1.ContainerPreferredAllocationRequest",
    "ContainerPreferredAllocationRequest": "available_deviceIDs=1 []string, "
    "must_include_deviceIDs=2 []string, allocation_size=3 int32",
    "PreferredAllocationResponse": "container_responses=1 "
    "[]v1beta1.ContainerPreferredAllocationResponse",
    "ContainerPreferredAllocationResponse": "deviceIDs=1 []string",
    "AllocateRequest": "container_requests=1 []v1beta1.ContainerAllocateRequest",
    "ContainerAllocateRequest": "devices_ids=1 []string",
    "AllocateResponse": "container_responses=1 []v1beta1.ContainerAllocateResponse",
    "ContainerAllocateResponse": "envs=1 map<string,string>, mounts=2 []v1beta1.Mount, "
    "devices=3 []v1beta1.DeviceSpec, annotations=4 map<string,string>, "
    "cdi_devices=5 []v1beta1.CDIDevice",
    "Mount": "container_path=1 string, host_path=2 string, read_only=3 bool",
    "DeviceSpec": "container_path=1 string, host_path=2 string, permissions=3 string",
    "CDIDevice": "name=1 string",
    "PreStartContainerRequest": "devices_ids=1 []string",
    "PreStartContainerResponse": "",
}
REGISTRATION = {
    "InfoRequest": "",
    "PluginInfo": "type=1 string, name=2 string, endpoint=3 string, supported_versions=4 []string",
    "RegistrationStatus": "plugin_registered=1 bool, error=2 string",
    "RegistrationStatusResponse": "",
}
POD_RESOURCES = {
    "ListPodResourcesRequest": "",
    "ListPodResourcesResponse": "pod_resources=1 []v1.PodResources",
    "AllocatableResourcesRequest": "",
    "AllocatableResourcesResponse": "devices=1 []v1.ContainerDevices, cpu_ids=2 []int64, "
    "memory=3 []v1.ContainerMemory",
    "GetPodResourcesRequest": "pod_name=1 string, pod_namespace=2 string",
    "GetPodResourcesResponse": "pod_resources=1 v1.PodResources",
    "PodResources": "name=1 string, namespace=2 string, containers=3 []v1.ContainerResources, "
    "cpu_ids=4 []int64, memory=5 []v1.ContainerMemory",
    "ContainerResources": "name=1 string, devices=2 []v1.ContainerDevices, cpu_ids=3 []int64, "
    "memory=4 []v1.ContainerMemory, dynamic_resources=5 []v1.DynamicResource",
    "ContainerMemory": "memory_type=1 string, size=2 uint64, topology=3 v1.TopologyInfo",
    "ContainerDevices": "resource_name=1 string, device_ids=2 []string, topology=3 v1.TopologyInfo",
    "TopologyInfo": "nodes=1 []v1.NUMANode",
    "NUMANode": "ID=1 int64",
    "DynamicResource": "claim_name=2 string, claim_namespace=3 string, "
    "claim_resources=4 []v1.ClaimResource",
    "ClaimResource": "cdi_devices=1 []v1.CDIDevice, driver_name=2 string, pool_name=3 string, "
    "device_name=4 string, share_id=5 ?string",
    "CDIDevice": "name=1 string",
}
METHODS = {
    "/v1beta1.Registration/Register": "v1beta1.RegisterRequest -> v1beta1.Empty",
    "/v1beta1.DevicePlugin/GetDevicePluginOptions": "v1beta1.Empty -> v1beta1.DevicePluginOptions",
    "/v1beta1.DevicePlugin/ListAndWatch": "v1beta1.Empty -> stream v1beta1.ListAndWatchResponse",
    "/v1beta1.DevicePlugin/GetPreferredAllocation": "v1beta1.PreferredAllocationRequest -> "
    "v1beta1.PreferredAllocationResponse",
    "/v1beta1.DevicePlugin/Allocate": "v1beta1.AllocateRequest -> v1beta1.AllocateResponse",
    "/v1beta1.DevicePlugin/PreStartContainer": "v1beta1.PreStartContainerRequest -> "
    "v1beta1.PreStartContainerResponse",
    "/pluginregistration.Registration/GetInfo": "pluginregistration.InfoRequest -> "
    "pluginregistration.PluginInfo",
    "/pluginregistration.Registration/NotifyRegistrationStatus": "pluginregistration."
    "RegistrationStatus -> pluginregistration.RegistrationStatusResponse",
    "/v1.PodResourcesLister/List": "v1.ListPodResourcesRequest -> v1.ListPodResourcesResponse",
    "/v1.PodResourcesLister/GetAllocatableResources": "v1.AllocatableResourcesRequest -> "
    "v1.AllocatableResourcesResponse",
    "/v1.PodResourcesLister/Get": "v1.GetPodResourcesRequest -> v1.GetPodResourcesResponse",
}
FILES = [
    (v1beta1.DESCRIPTOR, "v1beta1", DEVICE_PLUGIN),
    (registration.DESCRIPTOR, "pluginregistration", REGISTRATION),
    (podresources.DESCRIPTOR, "v1", POD_RESOURCES),
]


def _read(descriptor: FileDescriptor) -> FileDescriptorProto:
    """The descriptor as the wire's own description of itself."""
    return FileDescriptorProto.FromString(descriptor.serialized_pb)


def _type(field: FieldDescriptorProto, maps: dict[str, str]) -> str:
    if field.type_name.lstrip(".") in maps:
        return maps[field.type_name.lstrip(".")]
    name = field.type_name.lstrip(".") or FieldDescriptorProto.Type.Name(field.type)[5:].lower()
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return f"{'[]' if repeated else ''}{'?' if field.proto3_optional else ''}{name}"


def _maps(package: str, message: descriptor_pb2.DescriptorProto) -> dict[str, str]:
    """The entry messages that stand for maps: their full name and how the table writes them."""
    entries = [nested for nested in message.nested_type if nested.options.map_entry]
    return {
        f"{package}.{message.name}.{entry.name}": (
            f"map<{_type(entry.field[0], {})},{_type(entry.field[1], {})}>"
        )
        for entry in entries
    }


def _fields(package: str, message: descriptor_pb2.DescriptorProto) -> str:
    maps = _maps(package, message)
    return ", ".join(f"{field.name}={field.number} {_type(field, maps)}" for field in message.field)


def _methods(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for service in file.service:
        for method in service.method:
            assert not method.client_streaming
            answer = ("stream " if method.server_streaming else "") + method.output_type[1:]
            name = f"/{file.package}.{service.name}/{method.name}"
            yield name, f"{method.input_type[1:]} -> {answer}"


@pytest.mark.parametrize(("descriptor", "package", "table"), FILES)
def test_messages_are_the_contracts(
    descriptor: FileDescriptor, package: str, table: dict[str, str]
) -> None:
    file = _read(descriptor)
    assert (file.package, file.syntax) == (package, "proto3")
    assert {message.name: _fields(package, message) for message in file.message_type} == table


def test_methods_are_the_contracts() -> None:
    found = [pair for descriptor, _, _ in FILES for pair in _methods(_read(descriptor))]
    assert dict(found) == METHODS
