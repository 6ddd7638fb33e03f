"""The frame: what is encoded is parsed back, and nothing else is a frame."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import frame
from daemon.frame import Answer, Call, FrameError, Kind

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0="), min_size=1, max_size=20)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)
CALLS = st.builds(
    Call,
    st.sampled_from([Kind.CNI, Kind.FLEXVOLUME]),
    st.lists(TEXTS, max_size=5).map(tuple),
    st.dictionaries(NAMES, TEXTS, max_size=5),
    st.binary(max_size=200),
)


@given(CALLS)
def test_a_call_comes_back(call: Call) -> None:
    assert frame.parse_call(frame.encode_call(call)) == call


@given(st.integers(0, 255), st.binary(max_size=200))
def test_an_answer_comes_back(code: int, stdout: bytes) -> None:
    answer = Answer(code, stdout)
    assert frame.parse_answer(frame.encode_answer(answer)) == answer


def test_a_refusal_is_its_reason() -> None:
    assert frame.parse_answer(frame.encode_refusal("busy")) == "busy"


@given(CALLS, st.data())
def test_a_frame_that_is_cut_off_is_none(call: Call, data: st.DataObject) -> None:
    whole = frame.encode_call(call)
    with pytest.raises(FrameError):
        frame.parse_call(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(FrameError):
        frame.parse_call(whole + b"\0")


@given(CALLS, st.data())
def test_a_frame_with_other_bytes_is_a_call_or_an_error(call: Call, data: st.DataObject) -> None:
    broken = bytearray(frame.encode_call(call))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FrameError):
        assert isinstance(frame.parse_call(bytes(broken)), Call)


@given(st.binary(max_size=100))
def test_noise_is_an_error(noise: bytes) -> None:
    with pytest.raises(FrameError):
        frame.parse_call(noise)


def test_only_the_version_is_said_to_be_foreign() -> None:
    newer = frame.HEADER.pack(frame.MAGIC, frame.VERSION + 1, Kind.CNI, 0)
    with pytest.raises(frame.VersionError, match=f"version {frame.VERSION + 1}"):
        frame.parse_header(newer)


def test_unknown_fields_are_skipped() -> None:
    field = frame.FIELD.pack(99, 3) + b"new"
    header = frame.HEADER.pack(frame.MAGIC, frame.VERSION, Kind.CNI, len(field))
    assert frame.parse_call(header + field) == Call(Kind.CNI)


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(FrameError, match="larger"):
        frame.encode_call(Call(Kind.CNI, stdin=bytes(frame.STDIN_MAX + 1)))
    with pytest.raises(FrameError, match="larger"):
        frame.encode_call(Call(Kind.CNI, arguments=("x" * frame.WORDS_MAX,)))
    with pytest.raises(FrameError, match="larger"):
        frame.encode_answer(Answer(0, bytes(frame.ANSWER_MAX)))


def test_no_secret_shows_in_a_repr() -> None:
    call = Call(Kind.FLEXVOLUME, ("mount", "hunter2"), {"CNI_ARGS": "hunter2"}, b"hunter2")
    assert "hunter2" not in repr(call)
