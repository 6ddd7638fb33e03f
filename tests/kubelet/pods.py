"""Pods as these tests need them: a name, and what each container asks for."""

import itertools

from ringbolt.sandbox.pod import ContainerSpec, Pod, PodUid, RestartPolicy

THING = "example.com/thing"
_numbers = itertools.count(1)


def container(name: str = "main", **limits: int) -> ContainerSpec:
    return ContainerSpec(name, limits={f"example.com/{key}": n for key, n in limits.items()})


def sidecar(name: str, **limits: int) -> ContainerSpec:
    limited = {f"example.com/{key}": n for key, n in limits.items()}
    return ContainerSpec(name, limits=limited, restart_policy=RestartPolicy.ALWAYS)


def pod_of(*containers: ContainerSpec, init: tuple[ContainerSpec, ...] = ()) -> Pod:
    number = next(_numbers)
    return Pod(f"pod-{number}", "default", PodUid(f"uid-{number}"), containers, init)


def pod_with(things: int) -> Pod:
    return pod_of(container(thing=things))


def asking(resource: str, count: int = 1) -> Pod:
    return pod_of(ContainerSpec("main", limits={resource: count}))
