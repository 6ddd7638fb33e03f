"""What one pod asks for: addresses, MAC, host ports, bandwidth, and who it is.

The later a source is heard, the more it counts: the pod's annotations, CNI_ARGS, `args.cni`,
`runtimeConfig`. Annotations come only where the network's `capabilities` ask the runtime for them.
"""

from dataclasses import dataclass

from cni.addresses import parse_address, parse_mac
from cni.codes import CniError, Code
from cni.fields import Fields
from ringbolt.network.attachment import Bandwidth, Pod, PortMapping, Protocol
from ringbolt.network.settings import IpAddress

ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
IPS_ANNOTATION = "ringbolt.dev/ips"
MAC_ANNOTATION = "ringbolt.dev/mac"

_KNOWN_ARGS = frozenset({"IP", "MAC", "IgnoreUnknown"})
_ASKING = frozenset({"IP", "MAC"})
_POD_ARGS = "K8S_POD_"
_PORT_MAX = 65535
_BURST_UNSET = (1 << 32) - 1  # runtimes write this, in bits, where nobody asked for a burst
NO_LIMITS = Bandwidth()
_RATES = ("ingressRate", "ingressBurst", "egressRate", "egressBurst")
_FOLDED_RATES = frozenset(key.lower() for key in _RATES)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one pod asks for."""

    pod: Pod
    addresses: tuple[IpAddress, ...] = ()
    mac: str | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth = NO_LIMITS


def parse_args(text: str) -> dict[str, str]:
    """CNI_ARGS, `K=V;K2=V2`. Raises CniError (invalid environment)."""
    found: dict[str, str] = {}
    for pair in text.split(";") if text else ():
        key, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise CniError(Code.INVALID_ENVIRONMENT, f'ARGS: invalid pair "{pair}"')
        found[key] = value
    return found


def read_pod(args: str) -> Pod:
    """Whose pod it is; never raises."""
    if not args:
        return Pod()
    pairs: dict[str, str] = {}
    for pair in args.split(";"):
        key, _, value = pair.partition("=")
        pairs[key] = value
    names = (pairs.get(f"{_POD_ARGS}{key}", "") for key in ("NAMESPACE", "NAME", "UID"))
    return Pod(*(name.encode(errors="replace").decode() for name in names))


def read_wishes(fields: Fields, args: str) -> Wishes:
    """What the pod asks for. Raises CniError (invalid environment or configuration)."""
    pairs = parse_args(args)
    _check_known(pairs)
    runtime = fields.section("runtimeConfig")
    ours = fields.section("args").section("cni")
    if not runtime.wire and not ours.wire and not pairs.keys() & _ASKING:
        return Wishes(read_pod(args), bandwidth=_read_bandwidth(fields, runtime))
    annotations = Fields(runtime.section(ANNOTATIONS).wire, "annotations")
    macs = (
        (runtime.text("mac"), "runtimeConfig.mac"),
        (ours.text("mac"), "args.cni.mac"),
        (pairs.get("MAC", ""), "MAC in CNI_ARGS"),
        (annotations.text(MAC_ANNOTATION), f"the annotation {MAC_ANNOTATION}"),
    )
    return Wishes(
        pod=read_pod(args),
        addresses=_read_addresses(runtime, ours, pairs, annotations),
        mac=next((parse_mac(text, what) for text, what in macs if text), None),
        port_mappings=_read_port_mappings(runtime),
        bandwidth=_read_bandwidth(fields, runtime),
    )


def _check_known(pairs: dict[str, str]) -> None:
    unknown = [
        f'"{key}={value}"'
        for key, value in pairs.items()
        if key not in _KNOWN_ARGS and not key.startswith(_POD_ARGS)
    ]
    if unknown and pairs.get("IgnoreUnknown", "").lower() not in ("1", "true"):
        message = f"ARGS: unknown args [{' '.join(unknown)}]"
        raise CniError(Code.INVALID_ENVIRONMENT, message, "IgnoreUnknown=1 lets them pass")


def _read_addresses(
    runtime: Fields, ours: Fields, pairs: dict[str, str], annotations: Fields
) -> tuple[IpAddress, ...]:
    sources = (
        (runtime.texts("ips"), "runtimeConfig.ips"),
        (ours.texts("ips"), "args.cni.ips"),
        (_words(pairs.get("IP", "")), "IP in CNI_ARGS"),
        (_words(annotations.text(IPS_ANNOTATION)), f"the annotation {IPS_ANNOTATION}"),
    )
    texts, what = next(((texts, what) for texts, what in sources if texts), ((), ""))
    return tuple(dict.fromkeys(parse_address(text, what) for text in texts))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _read_port_mappings(runtime: Fields) -> tuple[PortMapping, ...]:
    found = (_read_port_mapping(one) for one in runtime.sections("portMappings"))
    return tuple(dict.fromkeys(one for one in found if one.host_port))


def _read_port_mapping(fields: Fields) -> PortMapping:
    host_ip = fields.text("hostIP")
    return PortMapping(
        host_port=_read_port(fields, "hostPort"),
        container_port=_read_port(fields, "containerPort"),
        protocol=_read_protocol(fields),
        host_ip=parse_address(host_ip, "hostIP") if host_ip else None,
    )


def _read_port(fields: Fields, key: str) -> int:
    port = fields.whole(key) or 0
    if port > _PORT_MAX or (not port and key == "containerPort"):
        raise fields.wrong(key, f"a port, 1 to {_PORT_MAX}")
    return port


def _read_protocol(fields: Fields) -> Protocol:
    word = fields.text("protocol").lower() or Protocol.TCP.value
    for protocol in Protocol:
        if protocol.value == word:
            return protocol
    raise fields.unsupported("protocol", "it must be tcp, udp or sctp")


def _read_bandwidth(fields: Fields, runtime: Fields) -> Bandwidth:
    """The network's own limits, else what the runtime read from the pod's annotations."""
    source = fields if fields.has_any(_FOLDED_RATES) else runtime.section("bandwidth")
    rates = [source.whole(key) or 0 for key in _RATES]
    ingress_rate, ingress_burst, egress_rate, egress_burst = rates
    return Bandwidth(
        ingress_rate=ingress_rate,
        ingress_burst=_burst(ingress_burst),
        egress_rate=egress_rate,
        egress_burst=_burst(egress_burst),
    )


def _burst(bits: int) -> int:
    return bits if bits < _BURST_UNSET else 0
