"""One's own pods on this machine: `run` until they end, `shell` in one or beside the kubelet."""

import asyncio
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ringbolt.sandbox.ability import Means, find_ability
from ringbolt.sandbox.agent_process import check_configuration
from ringbolt.sandbox.container_process import LogLine, StartError
from ringbolt.sandbox.examples import example
from ringbolt.sandbox.generation import Generation
from ringbolt.sandbox.pod import ContainerSpec, Pod, PodUid, RestartPolicy
from ringbolt.sandbox.pod_file import load_pods
from ringbolt.sandbox.pod_worker import PodFailedError, PodWorker
from ringbolt.sandbox.report import Report
from ringbolt.sandbox.session import Session, open_session

_SHELL_POD = PodUid("5e111111-0000-4000-8000-000000000000")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user chose: the agent's configuration (None: the example's) and the kubelet."""

    config: Path | None
    generation: Generation

    async def configuration(self) -> str:
        """The configuration's text. Raises AgentError with all that is wrong with one's own."""
        if self.config is not None:
            await check_configuration(self.config)
        return (self.config or example("agent.yaml")).read_text(encoding="utf-8")


async def run_pods(files: Sequence[Path], choice: Choice, report: Report) -> int:
    """Run all pods of the files at once; the first exit code that is not 0, else 0."""
    pods = [(file, pod) for file in files for pod in load_pods(file)]
    ability = await asyncio.to_thread(find_ability)
    if ability.means is Means.NONE:
        raise StartError(ability.lacks[0])
    config = await choice.configuration()
    report.doing("starting the kubelet and the agent")
    async with open_session(
        config, ability, listener=report.log_line, generation=choice.generation
    ) as session:
        for lack in session.network_lacks:
            report.left_out(lack)
        worker = PodWorker(session.kubelet, session.runtime, observer=report.progress)
        codes = await asyncio.gather(*(_run(worker, report, *each) for each in pods))
    return next((code for code in codes if code), 0)


async def _run(worker: PodWorker, report: Report, file: Path, pod: Pod) -> int:
    report.pod(str(file), pod)
    try:
        return (await worker.run(pod)).exit_code
    except PodFailedError as error:
        report.failed(f"{pod}: {error}")
        return 1


async def open_shell(limits: Mapping[str, int], choice: Choice, report: Report) -> int:
    """A shell in a pod with `limits`; without any, one on the host, beside kubelet and agent."""
    if limits and not os.isatty(0):
        raise StartError(
            "a shell in a pod needs a terminal; what needs none can be the command of a pod: "
            "ringbolt sandbox run POD.yaml"
        )
    ability = await asyncio.to_thread(find_ability)
    if limits and ability.means is Means.NONE:
        raise StartError(ability.lacks[0])
    config = await choice.configuration()
    report.doing("starting the kubelet and the agent; all of it ends with the shell")
    async with open_session(
        config, ability, listener=_ignore, generation=choice.generation
    ) as session:
        with _own_terminal():
            if limits:
                return await _shell_in_pod(session, limits, report)
            return await _shell_beside(session, report)


async def _shell_in_pod(session: Session, limits: Mapping[str, int], report: Report) -> int:
    spec = ContainerSpec("shell", command=("sh",), limits=limits, env=_terminal_type())
    pod = Pod("shell", "default", _SHELL_POD, (spec,), restart_policy=RestartPolicy.NEVER)
    worker = PodWorker(session.kubelet, session.runtime, observer=report.progress)
    worker = replace(worker, terminal=0)
    return (await worker.run(pod)).exit_code


async def _shell_beside(session: Session, report: Report) -> int:
    place = session.agent.place
    own = {
        "RINGBOLT_CONFIG": str(place.config),
        "RINGBOLT_KUBELET_DIR": str(place.kubelet),
        "RINGBOLT_STATE_DIR": str(place.state),
        "RINGBOLT_RUN_DIR": str(place.run),
        **place.environment,
    }
    for name, value in own.items():
        report.note(f"{name}={value}")
    if network := session.runtime.network:
        user = "-U --preserve-credentials " if network.node.user_namespace else ""
        report.note(f"the node's network: nsenter -t {network.node.pid} {user}-m -n ip address")
    report.note("the agent's log: " + str(place.log))
    report.note(
        "try: ringbolt devices --config $RINGBOLT_CONFIG --kubelet-dir $RINGBOLT_KUBELET_DIR"
    )
    shell = await asyncio.create_subprocess_exec(
        os.environ.get("SHELL", "/bin/sh"), env={**os.environ, **own}
    )
    return await shell.wait()


@contextmanager
def _own_terminal() -> Generator[None, None, None]:
    """Leave Ctrl-C to the shell, and take the terminal back when it is gone."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        yield
    finally:
        if os.isatty(0):
            os.tcsetpgrp(0, os.getpgrp())


def _terminal_type() -> Mapping[str, str]:
    return {"TERM": os.environ.get("TERM", "dumb"), "PS1": "pod# "}


def _ignore(_: LogLine) -> None:
    """A shell's output goes to the terminal itself."""
