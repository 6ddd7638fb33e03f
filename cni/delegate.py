"""Delegated address management: another plugin is exec'd as a runtime would exec it."""

import errno
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import sleep
from typing import cast

from cni.codes import CniError, Code
from cni.environment import Command
from cni.fields import Fields, Object

TIMEOUT_S = 8.0
_BUSY_TRIES = 5
_BUSY_PAUSE_S = 0.2
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNKNOWN_VERBS = ("unknown CNI_COMMAND", "does not allow")


@dataclass(frozen=True, slots=True)
class Delegate:
    """The plugin `kind`, found in `path` (CNI_PATH), with the environment and stdin of our call.

    It runs within `aside`.
    """

    kind: str
    path: str
    environment: Mapping[str, str]
    stdin: bytes
    aside: Callable[[], AbstractContextManager[None]] = nullcontext

    def run(self, command: Command) -> Fields:
        """What it prints for `command`; empty if nothing. Raises CniError, its own or of ours."""
        with self.aside():
            done = self._exec(command)
        if done.returncode != 0:
            raise self._failure(done)
        if not done.stdout.strip():
            return Fields({})
        wire = _object(done.stdout)
        if wire is None:
            message = f"the IPAM plugin {self.kind} printed something that is no JSON object"
            raise CniError(Code.DECODING_FAILURE, message)
        return Fields(wire, self.kind)

    def run_if_known(self, command: Command) -> None:
        """As `run`, but a plugin of before 1.1.0, which does not know the command, is well."""
        try:
            self.run(command)
        except CniError as error:
            if not any(words in error.message for words in _UNKNOWN_VERBS):
                raise

    def _find(self) -> str:
        if "/" in self.kind:
            raise CniError(Code.INTERNAL, f"invalid plugin name: {self.kind}")
        folders = self.path.split(":")
        for folder in folders:
            program = os.path.join(folder, self.kind)  # noqa: PTH118  # pathlib costs 10 ms
            if os.path.isfile(program):  # noqa: PTH113
                return program
        message = f'failed to find plugin "{self.kind}" in path [{" ".join(folders)}]'
        raise CniError(Code.INTERNAL, message)

    def _exec(self, command: Command) -> "subprocess.CompletedProcess[bytes]":
        program = self._find()
        environment = {**self.environment, "CNI_COMMAND": command.value, "PATH": _SEARCH_PATH}
        for _ in range(_BUSY_TRIES):
            try:
                return subprocess.run(
                    [program],
                    input=self.stdin,
                    env=environment,
                    capture_output=True,
                    timeout=TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                message = f"the IPAM plugin {program} took longer than {TIMEOUT_S:g} s"
                raise CniError(Code.TRY_AGAIN, message) from None
            except OSError as error:
                if error.errno != errno.ETXTBSY:
                    message = f"the IPAM plugin {program} cannot be run: {error.strerror}"
                    raise CniError(Code.INTERNAL, message) from None
                sleep(_BUSY_PAUSE_S)  # it is being installed; the reference waits likewise
        raise CniError(Code.TRY_AGAIN, f"the IPAM plugin {program} is being written")

    def _failure(self, done: "subprocess.CompletedProcess[bytes]") -> CniError:
        wire = _object(done.stdout)
        told = Fields(wire) if wire else None
        if told and isinstance(told.raw("msg"), str):
            code = told.raw("code")
            number = code if isinstance(code, int) and code > 0 else Code.INTERNAL
            details = told.raw("details")
            return CniError(number, told.text("msg"), details if isinstance(details, str) else "")
        said = done.stderr.decode(errors="replace").strip()
        reason = f'"{said}"' if said else "with no error message"
        return CniError(Code.INTERNAL, f"the IPAM plugin {self.kind} failed: {reason}")


def _object(data: bytes) -> Object | None:
    try:
        wire = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return cast("Object", wire) if isinstance(wire, dict) else None
