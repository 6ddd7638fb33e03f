"""Pods through the embedded kubelet and runtime, and through real container runtimes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.launcher_lab import PROUD, build
from tests.kernel.network_lab import Pod, pods
from tests.runtime.cni_lab import Node, agent, new_node


@pytest.fixture(autouse=True)
def _tidy(no_process_remains: None) -> None:
    """No test of this layer leaves a process, a mount or a loop device behind."""


@pytest.fixture(scope="session")
def program(
    tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]
) -> Path:
    """The launcher."""
    need_program("cc", "gcc")
    need_program("nsenter", "util-linux")
    need_program("ip", "iproute2")
    need_program("nft", "nftables")
    return build(tmp_path_factory.mktemp("launcher"), PROUD)


@pytest.fixture
def away(tmp_path: Path, program: Path) -> Iterator[Node]:
    """A node whose agent does not run."""
    with new_node(tmp_path / "node", program) as made:
        yield made


@pytest.fixture
def node(away: Node) -> Iterator[Node]:
    """A node whose agent serves."""
    with agent(away):
        yield away


@pytest.fixture
def pod() -> Iterator[Pod]:
    """A pod that is not attached yet."""
    with pods("c1") as (made,):
        yield made
