"""`kubelet_internal_checkpoint`: what a kubelet knows again after a restart.

The layout is the kubelet's, its checksum our own (the kubelet hashes Go's memory layout), so the
file of one is not for the other. Source: kubelet pkg/kubelet/cm/devicemanager/checkpoint.
"""

import base64
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.pod_devices import Allocation, Holding

CHECKPOINT = "kubelet_internal_checkpoint"


class CheckpointError(Exception):
    """The file is not a checkpoint; the kubelet goes on without it."""


def encode(holdings: Iterable[Holding], registered: Mapping[str, Iterable[str]]) -> str:
    """Holdings and the healthy ids of each registered resource as JSON."""
    data = {
        "PodDeviceEntries": [_entry(holding) for holding in holdings] or None,
        "RegisteredDevices": {name: sorted(ids) for name, ids in sorted(registered.items())},
    }
    return json.dumps({"Data": data, "Checksum": _checksum(data)})


def _entry(holding: Holding) -> dict[str, Any]:
    nodes = holding.allocation.by_node
    return {
        "PodUID": holding.pod,
        "ContainerName": holding.container,
        "ResourceName": holding.resource,
        "DeviceIDs": {str(node): list(ids) for node, ids in sorted(nodes.items())},
        "AllocResp": base64.b64encode(
            holding.allocation.answer.SerializeToString(deterministic=True)
        ).decode(),
    }


def decode(text: str) -> tuple[tuple[Holding, ...], tuple[str, ...]]:
    """Holdings and the names of the registered resources. Raises CheckpointError."""
    try:
        document = json.loads(text)
        data, checksum = document["Data"], document["Checksum"]
        if checksum != _checksum(data):
            raise CheckpointError("checkpoint is corrupted")
        holdings = tuple(_holding(entry) for entry in data["PodDeviceEntries"] or ())
        return holdings, tuple(data["RegisteredDevices"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"not a checkpoint: {error!r}") from error


def _holding(entry: Mapping[str, Any]) -> Holding:
    answer = v1beta1.ContainerAllocateResponse.FromString(base64.b64decode(entry["AllocResp"]))
    nodes = {int(node): tuple(ids) for node, ids in entry["DeviceIDs"].items()}
    allocation = Allocation(nodes, answer)
    return Holding(entry["PodUID"], entry["ContainerName"], entry["ResourceName"], allocation)


def _checksum(data: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())


def write_checkpoint(directory: Path, text: str) -> None:
    """Replace the file at once, by a hidden neighbour, as the kubelet's file store does."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{CHECKPOINT}", dir=directory)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).rename(directory / CHECKPOINT)


def read_checkpoint(directory: Path) -> tuple[tuple[Holding, ...], tuple[str, ...]]:
    """What was written last; nothing if there is no file. Raises CheckpointError."""
    try:
        text = (directory / CHECKPOINT).read_text(encoding="utf-8")
    except FileNotFoundError:
        return (), ()
    return decode(text)
