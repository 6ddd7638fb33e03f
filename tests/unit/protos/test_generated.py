"""The committed gRPC code is what the .proto files say: generated anew, it is the same."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.effects("subprocess")
def test_the_committed_code_is_what_the_contracts_generate(tmp_path: Path) -> None:
    if not (ROOT / ".venv/bin/python").exists():
        pytest.skip("needs the environment that `make test` makes: scripts/protos runs in it")
    made = tmp_path / "protos"
    subprocess.run([ROOT / "scripts/protos", tmp_path], check=True)
    committed = sorted(path.name for path in (ROOT / "protos").glob("*_pb2*"))
    assert sorted(path.name for path in made.iterdir()) == committed
    differing = [
        name
        for name in committed
        if (made / name).read_bytes() != (ROOT / "protos" / name).read_bytes()
    ]
    assert not differing, "run `make protos` and commit: the generated code is out of date"
