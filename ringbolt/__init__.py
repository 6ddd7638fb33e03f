"""The house behind the doors: rooms `devices`, `network`, `volumes`, floor `linux`, `sandbox`.

Nothing is imported here: a package root that imports is paid for by every process that starts.
"""

__version__ = "0.1.0"
