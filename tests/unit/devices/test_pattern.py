"""Patterns: what each way of writing one matches, and what is refused."""

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.devices.pattern import (
    LONGEST,
    Choice,
    Kind,
    Pattern,
    PatternError,
    Reading,
    parse_hex,
    parse_pattern,
    udev_name,
)

READINGS = st.sampled_from(Reading)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("usb", "usb", True),
        ("usb", "USB", False),
        ("usb", "usb2", False),
        ("tty*", "ttyUSB0", True),
        ("tty*", "atty", False),
        ("ttyUSB?", "ttyUSB10", False),
        ("tty[A-U]*", "ttyUSB0", True),
        ("tty[!A-U]*", "ttyUSB0", False),
        ("*.0*", "1-1.0:1", True),
        ("[*]", "*", True),
        ("[*]", "x", False),
        ("*", "", True),
        ("a*\nb", "a\nb", True),
        ("/USB/", "ttyUSB0", True),
        ("/^USB/", "ttyUSB0", False),
        ("/^tty(USB|ACM)[0-9]+$/", "ttyACM3", True),
        ("/^tty(USB|ACM)[0-9]+$/", "ttyS0", False),
        ("/(?i)ftdi/", "usb-FTDI_x", True),
        ("/a/b/", "xa/by", True),
        ("//", "//", True),
        ("/", "/", True),
    ],
)
def test_text_is_exact_glob_or_regex(text: str, value: str, *, holds: bool) -> None:
    assert parse_pattern(text).matches(value) is holds


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("/dev/ttyUSB0", "/dev/ttyUSB0", True),
        ("/dev/snd/", "/dev/snd", True),
        ("/dev/*", "/dev/fuse", True),
        ("/dev/*", "/dev/snd/seq", False),
        ("/dev/**", "/dev/snd/seq", True),
        ("/dev/**/seq", "/dev/snd/seq", True),
        ("/dev/**/seq", "/dev/seq", True),
        ("/dev/**/seq", "/dev/a/b/seq", True),
        ("/dev/**/seq", "/dev/xseq", False),
        ("/dev/?nd/seq", "/dev/snd/seq", True),
        ("/dev?snd", "/dev/snd", False),
        ("/dev[!a]snd", "/dev/snd", False),
        ("/dev/serial/by-id/*FTDI*", "/dev/serial/by-id/usb-FTDI_FT232R-if00-port0", True),
        ("/dev/*a*b", "/dev/xaayb", True),
        ("/dev/*a*a", "/dev/a", False),
        ("/dev/**a*/b", "/dev/xa/ya/b", True),
        ("/dev/[", "/dev/[", True),
        (r"/^\/dev\/tty(USB|ACM)\d+$/", "/dev/ttyACM0", True),
        (r"/^\/dev\/tty(USB|ACM)\d+$/", "/dev/ttyS0", False),
    ],
)
def test_path_globs_stop_at_slashes(text: str, value: str, *, holds: bool) -> None:
    assert parse_pattern(text, Reading.PATH).matches(value) is holds


@pytest.mark.parametrize("text", ["0x0403", "0403", "403", "0X403", "00000403"])
@pytest.mark.parametrize("value", ["0403", "0x0403", "403"])
def test_ids_compare_as_hexadecimal_numbers(text: str, value: str) -> None:
    assert parse_pattern(text, Reading.HEX).matches(value)
    assert not parse_pattern(text, Reading.HEX).matches("1027")


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("1D6B", "1d6b", True),
        ("1d6*", "0x1D6B", True),
        ("0x1d6*", "1d6b", True),
        ("/^1D/", "0x1d6b", True),
        ("none", "none", True),
        ("none", "0403", False),
        ("0403", "FTDI", False),
    ],
)
def test_ids_have_globs_and_expressions_too(text: str, value: str, *, holds: bool) -> None:
    assert parse_pattern(text, Reading.HEX).matches(value) is holds


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("0x03", "030000", True),
        ("03", "0x030200", True),
        ("3", "0x030200", True),
        ("0300", "0x030000", True),
        ("0300", "0x030200", False),
        ("0x030000", "30000", True),
        ("030000", "0x030001", False),
        ("c03", "0x0c0330", True),
        ("0x030000/0xff0000", "0x038000", True),
        ("030000/ff0000", "0x048000", False),
        ("0c03*", "0x0C0330", True),
        ("08", "0x010802", False),
    ],
)
def test_classes_are_prefixes_and_masks(text: str, value: str, *, holds: bool) -> None:
    assert parse_pattern(text, Reading.CLASS).matches(value) is holds


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("AB 12", "AB 12", True),
        ("AB 12", "AB_12", True),
        ("AB_12", " AB  12 ", True),
        ("AB*", "AB 12", True),
        ("*_12", "AB 12", True),
        ("AB 12", "AB12", False),
    ],
)
def test_names_compare_raw_or_as_udev_writes_them(text: str, value: str, *, holds: bool) -> None:
    assert parse_pattern(text, Reading.NAME).matches(value) is holds


@pytest.mark.parametrize(
    ("text", "reading", "says"),
    [
        ("x" * (LONGEST + 1), Reading.TEXT, "501 characters"),
        ("/(/", Reading.TEXT, "no regular expression"),
        ("/a{99999999999}/", Reading.TEXT, "no regular expression"),
        ("dev/x", Reading.PATH, "begins with a slash"),
        ("", Reading.PATH, "begins with a slash"),
        ("/dev/../x", Reading.PATH, "climb"),
        ("/**a**b**c**", Reading.PATH, "at most 3 times"),
    ],
)
def test_what_is_no_pattern_is_refused_with_a_reason(
    text: str, reading: Reading, says: str
) -> None:
    with pytest.raises(PatternError, match=re.escape(says)):
        parse_pattern(text, reading)


def test_a_choice_takes_any_and_the_empty_pattern_means_none() -> None:
    choice = Choice((parse_pattern("usb"), parse_pattern("pci*"), parse_pattern("")))
    assert [choice.accepts(value) for value in ("usb", "pcie", "tty", "", None)] == [
        True,
        True,
        False,
        True,
        True,
    ]
    assert choice.accepts_any([])
    assert choice.accepts_any(["tty", "usb"])
    assert not choice.accepts_any(["tty"])
    assert not Choice((parse_pattern("*"),)).accepts(None)
    assert str(choice) == "usb or pci* or (none)"


def test_a_choice_of_ids_is_numeric() -> None:
    choice = Choice((parse_pattern("0x403", Reading.HEX),))
    assert choice.accepts("0403")
    assert choice.accepts("0x403")


def test_patterns_that_say_the_same_are_equal() -> None:
    assert parse_pattern("/a+/") == parse_pattern("/a+/")
    assert parse_pattern("a") != parse_pattern("a", Reading.HEX)
    assert Pattern("a").kind is Kind.EXACT


@given(st.text(max_size=40))
def test_text_without_signs_matches_itself_alone(value: str) -> None:
    quoted = re.sub(r"[*?\[]", "", value)
    if not (quoted.startswith("/") and quoted.endswith("/")):
        assert parse_pattern(quoted).matches(value) is (quoted == value)


@given(st.text(alphabet="ab*?[]!-x", max_size=12), st.text(alphabet="abx-]![", max_size=8))
def test_text_globs_agree_with_fnmatch(glob: str, value: str) -> None:
    assert parse_pattern(glob).matches(value) is fnmatch.fnmatchcase(value, glob)


@given(st.text(alphabet="ab*?/", max_size=10), st.text(alphabet="ab/", max_size=8))
def test_path_globs_agree_with_a_search_by_brute_force(glob: str, value: str) -> None:
    text = "/" + re.sub(r"([*/])\1+", r"\1", glob).rstrip("/")
    assert parse_pattern(text, Reading.PATH).matches("/" + value) is _fits(text, "/" + value)


def _fits(glob: str, value: str) -> bool:
    """One star or question mark at a time, trying everything."""
    if not glob:
        return not value
    if glob[0] == "*":
        lengths = range(len(value.partition("/")[0]) + 1)
        return any(_fits(glob[1:], value[length:]) for length in lengths)
    first = value[:1]
    return (first == glob[0] or (glob[0] == "?" and first not in {"", "/"})) and _fits(
        glob[1:], value[1:]
    )


@given(st.text(max_size=20), READINGS, st.text(max_size=20))
def test_any_text_is_a_pattern_or_refused_and_matching_never_raises(
    text: str, reading: Reading, value: str
) -> None:
    try:
        pattern = parse_pattern(text, reading)
    except PatternError:
        return
    assert pattern.matches(value) in {True, False}


@given(st.integers(0, (1 << 64) - 1))
def test_hexadecimal_is_read_with_and_without_its_sign(number: int) -> None:
    assert parse_hex(f"{number:x}") == parse_hex(f"0x{number:016X}") == number


def test_many_stars_cost_no_more_than_the_path_is_long() -> None:
    pattern = parse_pattern("/" + "*a" * 200 + "b", Reading.PATH)
    assert not pattern.matches("/" + "a" * 4000)


@given(st.text())
def test_udev_names_stay_as_they_are(text: str) -> None:
    assert udev_name(udev_name(text)) == udev_name(text)
