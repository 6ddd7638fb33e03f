"""The rules of the house that no linter knows: sizes, names, what the floor imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "cni", "daemon", "flexvolume", "protos", "ringbolt", "tests")
MODULE_LINES = 400
FUNCTION_LINES = 60
FORBIDDEN_NAMES = {"base", "common", "helpers", "manager", "misc", "models", "utils"}


def _modules() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "_pb2" not in path.name:
                yield path.relative_to(ROOT)


def _tree(module: Path) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


def _functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _imported(module: Path) -> Iterator[str]:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{module}:{node.lineno}: relative import"
            yield node.module


def test_no_module_is_too_long_to_read() -> None:
    lengths = {module: len((ROOT / module).read_text().splitlines()) for module in _modules()}
    assert lengths, "no modules found"
    assert {module: lines for module, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_no_function_is_too_long_to_read() -> None:
    too_long = [
        f"{module}:{function.lineno} {function.name}"
        for module in _modules()
        for function in _functions(module)
        if (function.end_lineno or 0) - function.lineno >= FUNCTION_LINES
    ]
    assert too_long == []


def test_modules_are_named_after_what_they_are_for() -> None:
    assert [module for module in _modules() if module.stem in FORBIDDEN_NAMES] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module in _modules() if not ast.get_docstring(_tree(module))] == []


def test_the_floor_imports_the_standard_library_only() -> None:
    foreign = [
        f"{module}: {name}"
        for module in _modules()
        if module.is_relative_to("ringbolt/linux")
        for name in _imported(module)
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not name.startswith("ringbolt.linux")
    ]
    assert foreign == []


@pytest.mark.effects("subprocess")
@pytest.mark.parametrize("door", ["cni.__main__", "flexvolume.__main__"])
def test_an_exec_door_starts_without_slow_imports(door: str) -> None:
    """A runtime starts these doors for each pod, so what they import is part of their price."""
    program = f"import sys, {door}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    slow = {"asyncio", "click", "google", "grpc", "logging", "rich", "structlog", "yaml"}
    assert slow & set(done.stdout.split()) == set()
