"""The door: one call of a runtime in, one reply out; everything in between is the room's.

Parses and checks as the reference skeleton does, converts versions, has addresses managed elsewhere
where the configuration says so. Must not enter: policy, and any call to the kernel but one look at
which namespace it was given.
"""

import errno
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Protocol

from cni.call import Call, Reply
from cni.codes import CniError, Code, encode_error, translated
from cni.configuration import Configuration, find_version, parse_named, read_configuration
from cni.delegate import Delegate
from cni.environment import Command, Environment, read_environment
from cni.fields import Fields
from cni.network_settings import find_delegate, read_known_settings, read_settings
from cni.result import Wire, encode_result, merge, parse_result
from cni.versions import NEWEST, SUPPORTED, check_supported, is_at_least
from cni.wishes import Wishes, read_pod, read_wishes
from ringbolt.linux import network_namespace
from ringbolt.network.attachment import (
    Attach,
    Attached,
    Collected,
    ContainerId,
    Detach,
    Given,
    InterfaceName,
    Key,
)
from ringbolt.network.settings import Settings

ABOUT = "CNI plugin ringbolt\nCNI protocol versions supported: " + ", ".join(SUPPORTED) + "\n"
_SAME_NAMESPACE = "plugin's netns and netns from CNI_NETNS should not be the same"
_VALID_KEYS = ("cni.dev/valid-attachments", "cni.dev/attachments")
_LEAST_VERSIONS = {Command.CHECK: "0.4.0", Command.GC: "1.1.0", Command.STATUS: "1.1.0"}


class Network(Protocol):
    """The room, as this door needs it; each method raises NetworkError or OSError."""

    def add(self, attach: Attach) -> Attached:
        """Give a pod its interface; the same again for the same attachment."""
        ...

    def delete(self, detach: Detach) -> None:
        """Take it back; well if it is gone."""
        ...

    def check(self, attach: Attach, attached: Attached) -> None:
        """Raise DriftError unless the kernel has what `attached` says."""
        ...

    def collect(self, settings: Settings, valid: frozenset[Key] | None) -> Collected:
        """Take back what is not in `valid`; None: only what is provably dead."""
        ...

    def status(self, settings: Settings) -> None:
        """Raise unless a pod could be attached now."""
        ...


@dataclass(frozen=True, slots=True)
class _Request:
    """One call, read and checked."""

    call: Call
    environment: Environment
    configuration: Configuration
    network: Network

    @property
    def delegate(self) -> Delegate | None:
        kind = find_delegate(self.configuration)
        if not kind:
            return None
        path, variables = self.environment.path, self.call.environment
        return Delegate(kind, path, variables, self.configuration.stdin, self.call.aside)

    @property
    def key(self) -> Key:
        named = self.environment
        return Key(ContainerId(named.container_id), InterfaceName(named.ifname))


def handle(call: Call, network: Network) -> Reply:
    """Serve one call. Never raises: an unforeseen error is code 999, and its type is in `facts`."""
    facts = _facts(call.environment)
    try:
        return Reply(0, _served(call, network, facts), facts=facts)
    except _NoCommandError:
        return Reply(0, stderr=ABOUT.encode(), facts=facts)
    except Exception as error:  # noqa: BLE001  # the outermost frame: a runtime must get JSON
        told = translated(error, status=call.environment.get("CNI_COMMAND") == "STATUS")
        facts |= {"code": str(int(told.code)), "error": str(told)}
        facts["error_type"] = type(error).__name__
        return Reply(1, encode_error(told, find_version(call.stdin)), facts=facts)


class _NoCommandError(Exception):
    """Somebody called without CNI_COMMAND: a person, to see what this is."""


def _facts(variables: Mapping[str, str]) -> dict[str, str]:
    pod = read_pod(variables.get("CNI_ARGS", ""))
    facts = {
        "command": variables.get("CNI_COMMAND", ""),
        "container_id": variables.get("CNI_CONTAINERID", ""),
        "ifname": variables.get("CNI_IFNAME", ""),
        "pod": f"{pod.namespace}/{pod.name}" if pod.name else "",
        "traceparent": variables.get("TRACEPARENT", ""),
    }
    return {key: value for key, value in facts.items() if value}


def _served(call: Call, network: Network, facts: dict[str, str]) -> bytes:
    if not call.environment.get("CNI_COMMAND"):
        raise _NoCommandError
    environment = read_environment(call.environment)
    if environment.command is Command.VERSION:
        wire = {"cniVersion": NEWEST, "supportedVersions": SUPPORTED}
        return json.dumps(wire, separators=(",", ":")).encode() + b"\n"
    fields = parse_named(call.stdin)
    facts["network"] = fields.text("name")
    if environment.command is None:
        message = f"unknown CNI_COMMAND: {environment.word}"
        raise CniError(Code.INVALID_ENVIRONMENT, message)
    configuration = read_configuration(fields, call.stdin)
    _check_version(environment.command, configuration.version)
    wire = _VERBS[environment.command](_Request(call, environment, configuration, network))
    return json.dumps(wire).encode() if wire else b""  # indented it would cost a tenth of the call


def _check_version(command: Command, version: str) -> None:
    if least := _LEAST_VERSIONS.get(command):
        if not is_at_least(version, least):
            message = f"config version does not allow {command.value}"
            raise CniError(Code.INCOMPATIBLE_VERSION, message)
        if not is_at_least(NEWEST, version):
            message = f"plugin version does not allow {command.value}"
            raise CniError(Code.INCOMPATIBLE_VERSION, message)
    check_supported(version)


def _add(request: _Request) -> Wire:
    settings = read_settings(request.configuration)
    fields = request.configuration.fields
    wishes = read_wishes(fields, request.environment.args)
    _check_namespace(request)
    with ExitStack() as undo:
        given = _given(request, undo)
        attach = _attach(request, settings, wishes, given)
        attached = request.network.add(attach)
        undo.callback(lambda: request.network.delete(_detach(request, settings)))
        wire = encode_result(attached, request.configuration.version)
        if fields.raw("prevResult") is not None:
            wire = merge(fields.section("prevResult"), wire)
        undo.pop_all()
    return wire


def _given(request: _Request, undo: ExitStack) -> Given | None:
    """The addresses that a delegate gives; it is told to take them back if anything fails."""
    delegate = request.delegate
    if delegate is None:
        return None

    def take_back() -> None:
        with suppress(CniError):  # what failed before is what the runtime must hear
            delegate.run(Command.DEL)

    undo.callback(take_back)
    result = parse_result(delegate.run(Command.ADD), request.configuration.version)
    if not result.addresses:
        raise CniError(Code.INTERNAL, "IPAM plugin returned missing IP config")
    return Given(result.addresses, result.routes, result.dns)


def _attach(request: _Request, settings: Settings, wishes: Wishes, given: Given | None) -> Attach:
    return Attach(
        container_id=request.key.container_id,
        ifname=request.key.ifname,
        netns_fd=_namespace(request),
        netns_path=request.environment.netns,
        settings=settings,
        pod=wishes.pod,
        addresses=wishes.addresses,
        mac=wishes.mac,
        port_mappings=wishes.port_mappings,
        bandwidth=wishes.bandwidth,
        given=given,
    )


def _namespace(request: _Request) -> int:
    """The descriptor of CNI_NETNS. Raises CniError if it is none."""
    path, fd = request.environment.netns, request.call.netns_fd
    if fd is None:
        message = f'failed to open netns "{path}"'
        raise CniError(Code.INTERNAL, message, "it cannot be opened on this node")
    try:
        network_namespace.check(fd, path)
    except OSError as error:
        raise CniError(Code.INTERNAL, f'failed to open netns "{path}": {error.strerror}') from None
    return fd


def _check_namespace(request: _Request) -> None:
    """Raise CniError if the pod's namespace is our own, unless the runtime says that it may be."""
    fd = request.call.netns_fd
    if fd is None or request.environment.netns_override:
        return
    if network_namespace.identify(fd) == network_namespace.identify_own():
        raise CniError(Code.INVALID_NETNS, _SAME_NAMESPACE)


def _detach(request: _Request, settings: Settings) -> Detach:
    fd = request.call.netns_fd
    if fd is not None:
        try:
            network_namespace.check(fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fd = None  # the namespace is gone, its file is left
    return Detach(*request.key, settings, fd, request.environment.netns, request.call.age_s)


def _del(request: _Request) -> Wire:
    settings = read_known_settings(request.configuration)
    delegate = _known_delegate(request)
    with ExitStack() as both:
        if delegate:
            both.callback(delegate.run, Command.DEL)
        request.network.delete(_detach(request, settings))
    _check_namespace(request)
    return {}


def _known_delegate(request: _Request) -> Delegate | None:
    try:
        return request.delegate
    except CniError:  # an `ipam` that no ADD could have read
        return None


def _check(request: _Request) -> Wire:
    fields = request.configuration.fields
    if fields.raw("prevResult") is None:
        raise CniError(Code.INVALID_CONFIG, "Required prevResult missing")
    previous = _of_this_interface(request, fields.section("prevResult"))
    settings = read_settings(request.configuration)
    if delegate := request.delegate:
        delegate.run(Command.CHECK)
    given = Given(previous.addresses, previous.routes, previous.dns) if delegate else None
    wishes = read_wishes(fields, request.environment.args)
    request.network.check(_attach(request, settings, wishes, given), previous)
    return {}


def _of_this_interface(request: _Request, wire: Fields) -> Attached:
    """The result without the addresses that others in the chain gave to interfaces of theirs."""
    whole = parse_result(wire, request.configuration.version)
    others = {
        index
        for index, one in enumerate(whole.interfaces)
        if not one.sandbox or one.name != request.environment.ifname
    }
    return replace(
        whole, addresses=tuple(one for one in whole.addresses if one.interface not in others)
    )


def _collect(request: _Request) -> Wire:
    """Both are told of the attachments that are valid, whatever fails first."""
    valid = _read_valid(request)
    settings = read_settings(request.configuration)
    delegate = request.delegate
    with ExitStack() as both:
        if delegate:
            both.callback(delegate.run_if_known, Command.GC)
        request.network.collect(settings, valid)
    return {}


def _read_valid(request: _Request) -> frozenset[Key] | None:
    """The attachments that the runtime knows; None if it does not say.

    `cnitool gc` sends no key: then nothing but what is provably dead may go. A runtime without pods
    sends null: then nothing is valid.
    """
    fields = request.configuration.fields
    key = next((key for key in _VALID_KEYS if fields.has(key)), None)
    if key is None:
        return None
    found = [(one.text("containerID"), one.text("ifname")) for one in fields.sections(key)]
    if not all(container and ifname for container, ifname in found):
        raise fields.wrong(key, "a list of objects with containerID and ifname")
    return frozenset(Key(ContainerId(one), InterfaceName(ifname)) for one, ifname in found)


def _status(request: _Request) -> Wire:
    settings = read_settings(request.configuration)
    request.network.status(settings)
    if delegate := request.delegate:
        delegate.run_if_known(Command.STATUS)
    return {}


_VERBS: Mapping[Command, Callable[[_Request], Wire]] = {
    Command.ADD: _add,
    Command.DEL: _del,
    Command.CHECK: _check,
    Command.GC: _collect,
    Command.STATUS: _status,
}
