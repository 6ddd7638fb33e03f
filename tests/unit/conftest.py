"""Pure stations only: no root, no network, no kernel, the whole layer in under 20 s."""

import pytest


@pytest.fixture(autouse=True)
def _pure(shut_doors: None) -> None:
    """Every test runs behind shut doors; `@pytest.mark.effects("subprocess")` opens one."""
