"""The mark that secrets leave on a volume: the same for the same, and nothing to learn of it."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.volumes.credentials import Credentials
from ringbolt.volumes.volume import NO_SECRETS, Secrets

some = st.dictionaries(st.text(max_size=4), st.binary(max_size=4), max_size=3)


def test_no_secrets_leave_no_mark_and_no_key(tmp_path: Path) -> None:
    assert Credentials(tmp_path).mark(NO_SECRETS) == ""
    assert list(tmp_path.iterdir()) == []


def test_marks_tell_secrets_apart_and_outlive_the_process(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("run")

    @given(some, some)
    def check(one: dict[str, bytes], other: dict[str, bytes]) -> None:
        marks = [Credentials(folder).mark(Secrets(each)) for each in (one, other)]
        assert (marks[0] == marks[1]) == (one == other)

    check()


def test_a_mark_is_nothing_that_can_be_guessed_at(tmp_path: Path) -> None:
    secrets = Secrets({"password": b"1234"})
    mark = Credentials(tmp_path / "one").mark(secrets)
    assert mark != Credentials(tmp_path / "other").mark(secrets)
    assert mark not in hashlib.sha256(b"1234").hexdigest()
    (key,) = (tmp_path / "one" / "volumes").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
