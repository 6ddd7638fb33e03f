"""What the agent keeps for processes beside it is what they read."""

from pathlib import Path

import pytest

from ringbolt.volumes.errors import NotAvailableError
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.setting import Setting, read_setting, write_setting
from ringbolt.volumes.spec import Kind


def test_what_is_kept_is_what_is_read(tmp_path: Path) -> None:
    rules = (
        Rule(frozenset({Kind.TMPFS, Kind.DIRECTORY}), ("a", "team-*"), 1 << 30, ("data=*",)),
        Rule(frozenset({Kind.LOOP}), readonly=True, trusted=True, roots=("/srv/a",)),
    )
    places = Places(tmp_path, Path("/state"), Path("/kubelet"))
    setting = Setting(places, Policy(("/srv", "/data"), rules))
    write_setting(Setting(places, Policy()))
    write_setting(setting)
    assert read_setting(tmp_path) == setting
    (file,) = (tmp_path / "volumes").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"rules": 1}', '{"state_dir": 1}'])
def test_what_is_broken_allows_nothing(tmp_path: Path, text: str) -> None:
    with pytest.raises(NotAvailableError, match="no agent has run"):
        read_setting(tmp_path)
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes" / "setting.json").write_text(text)
    with pytest.raises(NotAvailableError, match="restart the agent"):
        read_setting(tmp_path)
