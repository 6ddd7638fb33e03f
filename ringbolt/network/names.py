"""What things are called in the kernel: links of pods, by a hash that is told from others. Pure."""

from hashlib import blake2s

from ringbolt.network.attachment import Key
from ringbolt.network.settings import NetworkName

HOST_PREFIX = "rb"
_IFB_PREFIX = "rbi"
_HASH_BYTES = 5
HOST_NAME_LENGTH = len(HOST_PREFIX) + 2 * _HASH_BYTES


def host_name(network: NetworkName, key: Key, salt: int) -> str:
    """The name of the node's end, 12 characters; another `salt` where it is taken."""
    text = "\0".join((network, key.container_id, key.ifname, str(salt)))
    return HOST_PREFIX + blake2s(text.encode(), digest_size=_HASH_BYTES).hexdigest()


def is_host_name(name: str) -> bool:
    """Whether a link of this name can be ours."""
    return name.startswith(HOST_PREFIX) and _is_hash(name.removeprefix(HOST_PREFIX))


def is_ifb_name(name: str) -> bool:
    """Whether a link of this name can be our ifb."""
    return name.startswith(_IFB_PREFIX) and _is_hash(name.removeprefix(_IFB_PREFIX))


def _is_hash(text: str) -> bool:
    return len(text) == 2 * _HASH_BYTES and set(text) <= set("0123456789abcdef")


def ifb_name(host_name: str) -> str:
    """The name of the device that slows down what the pod behind `host_name` sends."""
    return _IFB_PREFIX + host_name.removeprefix(HOST_PREFIX)
