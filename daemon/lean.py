"""structlog without rich: every module of the daemon takes it from here.

structlog.dev imports rich wherever that is installed, for coloured tracebacks on terminals. In an
agent that logs JSON this costs 7 MB for ever and a sixth of its start (measured, Python 3.11).
"""

import sys

if "rich" in sys.modules:
    import structlog
else:
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes `import rich` an ImportError
    import structlog

    del sys.modules["rich"]

__all__ = ["structlog"]
