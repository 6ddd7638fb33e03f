"""The wire is the kubelet's: names, numbers and types against a table written independently.

The table is transcribed from the contract (k8s.io/kubelet/pkg/apis: deviceplugin/v1beta1,
pluginregistration/v1, podresources/v1; k8s.io/cri-api: runtime/v1), not from our .proto files.
"""

from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from protos import cri_v1_pb2 as cri
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
CRI = {
    "VersionRequest": "version=1 string",
    "VersionResponse": "version=1 string, runtime_name=2 string, runtime_version=3 string, "
    "runtime_api_version=4 string",
    "StatusRequest": "verbose=1 bool",
    "StatusResponse": "status=1 runtime.v1.RuntimeStatus, info=2 map<string,string>",
    "RuntimeStatus": "conditions=1 []runtime.v1.RuntimeCondition",
    "RuntimeCondition": "type=1 string, status=2 bool, reason=3 string, message=4 string",
    "RunPodSandboxRequest": "config=1 runtime.v1.PodSandboxConfig, runtime_handler=2 string",
    "RunPodSandboxResponse": "pod_sandbox_id=1 string",
    "StopPodSandboxRequest": "pod_sandbox_id=1 string",
    "StopPodSandboxResponse": "",
    "RemovePodSandboxRequest": "pod_sandbox_id=1 string",
    "RemovePodSandboxResponse": "",
    "PodSandboxConfig": "metadata=1 runtime.v1.PodSandboxMetadata, hostname=2 string, "
    "log_directory=3 string, dns_config=4 runtime.v1.DNSConfig, port_mappings=5 "
    "[]runtime.v1.PortMapping, labels=6 map<string,string>, annotations=7 "
    "map<string,string>, linux=8 runtime.v1.LinuxPodSandboxConfig",
    "PodSandboxMetadata": "name=1 string, uid=2 string, namespace=3 string, attempt=4 uint32",
    "DNSConfig": "servers=1 []string, searches=2 []string, options=3 []string",
    "PortMapping": "protocol=1 runtime.v1.Protocol, container_port=2 int32, host_port=3 int32, "
    "host_ip=4 string",
    "LinuxPodSandboxConfig": "cgroup_parent=1 string, security_context=2 "
    "runtime.v1.LinuxSandboxSecurityContext, sysctls=3 map<string,string>",
    "LinuxSandboxSecurityContext": "namespace_options=1 runtime.v1.NamespaceOption",
    "NamespaceOption": "network=1 runtime.v1.NamespaceMode, pid=2 runtime.v1.NamespaceMode, ipc=3 "
    "runtime.v1.NamespaceMode, target_id=4 string",
    "PodSandboxStatusRequest": "pod_sandbox_id=1 string, verbose=2 bool",
    "PodSandboxStatusResponse": "status=1 runtime.v1.PodSandboxStatus, info=2 map<string,string>",
    "PodSandboxStatus": "id=1 string, metadata=2 runtime.v1.PodSandboxMetadata, state=3 "
    "runtime.v1.PodSandboxState, created_at=4 int64, network=5 "
    "runtime.v1.PodSandboxNetworkStatus, linux=6 runtime.v1.LinuxPodSandboxStatus, "
    "labels=7 map<string,string>, annotations=8 map<string,string>, "
    "runtime_handler=9 string",
    "PodSandboxNetworkStatus": "ip=1 string, additional_ips=2 []runtime.v1.PodIP",
    "PodIP": "ip=1 string",
    "LinuxPodSandboxStatus": "namespaces=1 runtime.v1.Namespace",
    "Namespace": "options=2 runtime.v1.NamespaceOption",
    "ListPodSandboxRequest": "filter=1 runtime.v1.PodSandboxFilter",
    "PodSandboxFilter": "id=1 string, state=2 runtime.v1.PodSandboxStateValue, label_selector=3 "
    "map<string,string>",
    "PodSandboxStateValue": "state=1 runtime.v1.PodSandboxState",
    "ListPodSandboxResponse": "items=1 []runtime.v1.PodSandbox",
    "PodSandbox": "id=1 string, metadata=2 runtime.v1.PodSandboxMetadata, state=3 "
    "runtime.v1.PodSandboxState, created_at=4 int64, labels=5 map<string,string>, "
    "annotations=6 map<string,string>, runtime_handler=7 string",
    "CreateContainerRequest": "pod_sandbox_id=1 string, config=2 runtime.v1.ContainerConfig, "
    "sandbox_config=3 runtime.v1.PodSandboxConfig",
    "CreateContainerResponse": "container_id=1 string",
    "ContainerConfig": "metadata=1 runtime.v1.ContainerMetadata, image=2 runtime.v1.ImageSpec, "
    "command=3 []string, args=4 []string, working_dir=5 string",
    "ContainerMetadata": "name=1 string, attempt=2 uint32",
    "ImageSpec": "image=1 string",
    "StartContainerRequest": "container_id=1 string",
    "StartContainerResponse": "",
    "ImageStatusRequest": "image=1 runtime.v1.ImageSpec, verbose=2 bool",
    "ImageStatusResponse": "image=1 runtime.v1.Image",
    "Image": "id=1 string, repo_tags=2 []string",
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
    "/runtime.v1.RuntimeService/Version": "runtime.v1.VersionRequest -> runtime.v1.VersionResponse",
    "/runtime.v1.RuntimeService/Status": "runtime.v1.StatusRequest -> runtime.v1.StatusResponse",
    "/runtime.v1.RuntimeService/RunPodSandbox": "runtime.v1.RunPodSandboxRequest -> "
    "runtime.v1.RunPodSandboxResponse",
    "/runtime.v1.RuntimeService/StopPodSandbox": "runtime.v1.StopPodSandboxRequest -> "
    "runtime.v1.StopPodSandboxResponse",
    "/runtime.v1.RuntimeService/RemovePodSandbox": "runtime.v1.RemovePodSandboxRequest -> "
    "runtime.v1.RemovePodSandboxResponse",
    "/runtime.v1.RuntimeService/PodSandboxStatus": "runtime.v1.PodSandboxStatusRequest -> "
    "runtime.v1.PodSandboxStatusResponse",
    "/runtime.v1.RuntimeService/ListPodSandbox": "runtime.v1.ListPodSandboxRequest -> "
    "runtime.v1.ListPodSandboxResponse",
    "/runtime.v1.RuntimeService/CreateContainer": "runtime.v1.CreateContainerRequest -> "
    "runtime.v1.CreateContainerResponse",
    "/runtime.v1.RuntimeService/StartContainer": "runtime.v1.StartContainerRequest -> "
    "runtime.v1.StartContainerResponse",
    "/runtime.v1.ImageService/ImageStatus": "runtime.v1.ImageStatusRequest -> "
    "runtime.v1.ImageStatusResponse",
}
ENUMS = {
    "Protocol": "TCP=0 UDP=1 SCTP=2",
    "NamespaceMode": "POD=0 CONTAINER=1 NODE=2 TARGET=3",
    "PodSandboxState": "SANDBOX_READY=0 SANDBOX_NOTREADY=1",
}
FILES = [
    (v1beta1.DESCRIPTOR, "v1beta1", DEVICE_PLUGIN),
    (registration.DESCRIPTOR, "pluginregistration", REGISTRATION),
    (podresources.DESCRIPTOR, "v1", POD_RESOURCES),
    (cri.DESCRIPTOR, "runtime.v1", CRI),
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


def test_values_are_the_contracts() -> None:
    found = {
        enum.name: " ".join(f"{value.name}={value.number}" for value in enum.value)
        for descriptor, _, _ in FILES
        for enum in _read(descriptor).enum_type
    }
    assert found == ENUMS
