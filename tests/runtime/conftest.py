"""Pods through the embedded kubelet and runtime, and through real container runtimes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.launcher_lab import SHORT, build


@pytest.fixture(autouse=True)
def _tidy(no_process_remains: None) -> None:
    """No test of this layer leaves a process, a mount or a loop device behind."""


@pytest.fixture(scope="session")
def program(
    tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]
) -> Path:
    need_program("cc", "gcc")
    need_program("nsenter", "util-linux")
    need_program("ip", "iproute2")
    need_program("nft", "nftables")
    return build(tmp_path_factory.mktemp("launcher"), SHORT)
