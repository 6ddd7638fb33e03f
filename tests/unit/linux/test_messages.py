"""Framing, attributes and acknowledgements: what goes out comes back; what comes in is doubted."""

import errno
import pickle
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringbolt.linux import attributes as nla
from ringbolt.linux import messages
from ringbolt.linux.messages import Message, NetlinkError, Request
from tests.unit.linux.wire import ADDRESSES, MACS, NAMES, NUMBERS, assert_decodes_or_refuses

KINDS = st.integers(0, nla.NLA_TYPE_MASK)
ECHO = struct.pack("=IHHII", 40, 16, 5, 1, 0)


@settings(deadline=None)
@given(st.dictionaries(KINDS, st.binary(max_size=40)))
def test_attributes_come_back_as_they_were_written(wanted: dict[int, bytes]) -> None:
    written = b"".join(nla.attribute(kind, payload) for kind, payload in wanted.items())
    assert nla.parse(written) == wanted
    assert nla.parse(nla.parse(nla.nested(7, written))[7]) == wanted


@settings(deadline=None)
@given(NUMBERS, NAMES, MACS, ADDRESSES)
def test_values_come_back_from_their_attributes(
    number: int, name: str, mac: str, address: nla.IPAddress
) -> None:
    body = nla.u32(1, number) + nla.text(2, name) + nla.mac(3, mac) + nla.address(4, address)
    body += nla.u8(5, number % 256) + nla.u16(6, number % 65536) + nla.u64(7, number << 32)
    body += nla.be16(8, number % 65536) + nla.be32(9, number)
    found = nla.parse(body)
    assert nla.as_number(found[1]) == number
    assert nla.as_text(found[2]) == name
    assert nla.as_mac(found[3]) == mac
    assert nla.as_address(found[4]) == address
    assert [nla.as_number(found[kind]) for kind in (5, 6, 7)] == [
        number % 256,
        number % 65536,
        number << 32,
    ]
    assert nla.as_big_endian(found[8]) == number % 65536
    assert nla.as_big_endian(found[9]) == number


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_hostile_bytes_never_crash_the_framing(data: bytes) -> None:
    decoders = (nla.parse, nla.as_number, nla.as_address, lambda body: list(messages.decode(body)))
    for decode in decoders:
        assert_decodes_or_refuses(decode, data)


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(0, 0xFFFF), st.sampled_from([2, 3]))
def test_hostile_bytes_never_crash_the_reading_of_an_ack(
    data: bytes, flags: int, kind: int
) -> None:
    assert_decodes_or_refuses(lambda body: messages.outcome(Message(kind, flags, 1, body)), data)


def test_what_was_cut_short_is_refused() -> None:
    whole = nla.text(3, "eth0")
    with pytest.raises(OSError, match="malformed netlink attributes of 7 bytes"):
        nla.parse(whole[:7])
    sent = messages.encode(Request("OPERATION", "", 16, 0, whole), 1)
    with pytest.raises(OSError, match="malformed netlink message of 20 bytes"):
        list(messages.decode(sent[:20]))
    with pytest.raises(OSError, match="malformed netlink message of 8 bytes") as caught:
        list(messages.decode(sent + sent[:8]))
    assert caught.value.errno == errno.EBADMSG


def test_an_attribute_too_long_for_its_header_is_refused() -> None:
    with pytest.raises(OSError, match="attribute 20 of 70000 bytes"):
        nla.attribute(20, bytes(70000))


@pytest.mark.parametrize("text", ["", "0a:58", "0a:58:00:00:00:zz", "0a:58:00:00:00:01:02"])
def test_what_is_no_mac_is_refused(text: str) -> None:
    with pytest.raises(OSError, match="not a MAC address") as caught:
        nla.mac(1, text)
    assert caught.value.errno == errno.EINVAL


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(16, 99), NUMBERS, st.binary(max_size=40)), max_size=5))
def test_messages_of_a_batch_come_back(batch: list[tuple[int, int, bytes]]) -> None:
    sent = b"".join(
        messages.encode(Request("OPERATION", "", kind, 0, body), sequence)
        for kind, sequence, body in batch
    )
    read = [(message.kind, message.sequence, message.body) for message in messages.decode(sent)]
    assert read == batch


def _ack(number: int, trailer: bytes, flags: int) -> Message:
    return Message(messages.NLMSG_ERROR, flags, 1, struct.pack("=i", -number) + trailer)


def test_the_kernels_words_are_found_behind_an_echo_of_any_length() -> None:
    words = nla.text(1, "Nexthop has invalid gateway")
    capped = messages.NLM_F_ACK_TLVS | messages.NLM_F_CAPPED
    expected = (errno.ENETUNREACH, "Nexthop has invalid gateway")
    assert messages.outcome(_ack(errno.ENETUNREACH, ECHO + words, capped)) == expected
    whole = _ack(errno.ENETUNREACH, ECHO + bytes(24) + words, messages.NLM_F_ACK_TLVS)
    assert messages.outcome(whole) == expected
    done = struct.pack("=i", -errno.ENETUNREACH) + words
    assert messages.outcome(Message(messages.NLMSG_DONE, capped, 1, done)) == expected


def test_an_ack_that_names_a_missing_attribute_says_which() -> None:
    trailer = ECHO + nla.u32(5, 29)
    flags = messages.NLM_F_ACK_TLVS | messages.NLM_F_CAPPED
    number, words = messages.outcome(_ack(errno.EINVAL, trailer, flags))
    assert (number, words) == (errno.EINVAL, "(attribute 29 is missing)")


def test_a_refusal_says_what_failed_on_what_and_why() -> None:
    error = NetlinkError(errno.EEXIST, "RTM_NEWLINK", "veth cali1", "the words")
    assert error.strerror == "RTM_NEWLINK veth cali1 -> EEXIST: the words"
    assert NetlinkError(errno.EPERM, "RTM_GETLINK", "").strerror == "RTM_GETLINK -> EPERM"
    again = pickle.loads(pickle.dumps(error))
    assert (again.errno, again.strerror) == (error.errno, error.strerror)


def test_forgiveness_adds_up() -> None:
    request = Request("OPERATION", "", 16, 0, b"").forgiving(errno.EEXIST).forgiving(errno.ENOENT)
    assert request.forgiven == {errno.EEXIST, errno.ENOENT}
