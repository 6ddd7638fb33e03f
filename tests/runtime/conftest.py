"""Pods through the embedded kubelet and runtime, and through real container runtimes."""

import pytest


@pytest.fixture(autouse=True)
def _tidy(no_process_remains: None) -> None:
    """No test of this layer leaves a process, a mount or a loop device behind."""
