"""The agent as a real process against the embedded kubelet, and the kubelet itself."""

import pytest


@pytest.fixture(autouse=True)
def _tidy(no_process_remains: None) -> None:
    """No test of this layer leaves a process, a mount or a loop device behind."""
