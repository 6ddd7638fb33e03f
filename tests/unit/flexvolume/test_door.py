"""The door with a room that records: what it asks of it, and what a kubelet is told."""

import base64
import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexvolume.answer import Outcome
from flexvolume.call import Call, Reply
from flexvolume.door import NEVER_SUPPORTED, handle, target_of
from flexvolume.options import parse_options
from ringbolt.volumes import errors
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.spec import Loop
from ringbolt.volumes.volume import Namespace, Publication, Tenant, Volume
from tests.unit.flexvolume.recording_room import RecordingRoom

TARGET = "/var/lib/kubelet/pods/u1/volumes/ringbolt.dev~volume/data"
SECRET = "swordfish-7"
SAID = {
    "kubernetes.io/fsType": "",
    "kubernetes.io/readwrite": "rw",
    "kubernetes.io/pvOrVolumeName": "data",
    "kubernetes.io/pod.name": "web-0",
    "kubernetes.io/pod.namespace": "shop",
    "kubernetes.io/pod.uid": "u1",
    "kubernetes.io/serviceAccount.name": "robot",
    "kubernetes.io/secret/key": base64.b64encode(SECRET.encode()).decode(),
}
TENANT = Tenant(Namespace("shop"), "web-0", "u1", "robot")


def call(*arguments: str, room: RecordingRoom | None = None) -> tuple[Reply, dict[str, Any]]:
    given_room = room or RecordingRoom()
    reply = handle(Call(arguments), lambda: given_room, Deadline.after(60))
    return reply, json.loads(reply.stdout)


def options(**written: str) -> str:
    return json.dumps(SAID | written)


def test_init_says_that_nothing_is_attached_and_that_no_tree_is_to_be_walked() -> None:
    _, answer = call("init")
    assert answer == {
        "status": "Success",
        "capabilities": {
            "attach": False,
            "fsGroup": False,
            "supportsMetrics": True,
            "requiresFSResize": True,
        },
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("getvolumename", "{}"),
        ("attach", "{}", "node"),
        ("waitforattach", "device", "{}"),
        ("isattached", "{}", "node"),
        ("isattached", "node", "{}"),
        ("detach", "name", "node"),
        ("mountdevice", "/a", "", "{}"),
        ("unmountdevice", "/a"),
        ("expandvolume", "{}", "/a", "2", "1"),
    ],
)
def test_what_only_attachers_and_controllers_do_is_never_supported(arguments: Any) -> None:
    reply, answer = call(*arguments)
    assert answer == {"status": "Not supported"}
    assert reply.facts == {"call": arguments[0], "outcome": "not supported"}
    assert arguments[0] in NEVER_SUPPORTED


def test_mount_creates_and_publishes_with_the_secrets() -> None:
    room = RecordingRoom()
    written = {"kubernetes.io/mounterArgs.FsGroup": "2000", "kubernetes.io/readwrite": "ro"}
    reply, answer = call(
        "mount", TARGET, options(kind="loop", name="data", size="1Gi", **written), room=room
    )
    assert answer == {"status": "Success"}
    volume = Volume(Loop("data", 1 << 30), Namespace("shop"), readonly=True, instance="u1/data")
    place = Publication(Path(TARGET), TENANT, readonly=True, fs_group=2000)
    assert room.asked == [("create", (volume, TENANT)), ("publish", (volume, place))]
    assert [one.get("key") for one in room.secrets] == [SECRET.encode()] * 2
    assert reply.facts == {
        "call": "mount",
        "target": TARGET,
        "pod": "shop/web-0",
        "volume_id": "loop.shop.data",
        "volume_kind": "loop",
        "remarks": "a remark",
        "outcome": "done",
    }


@pytest.mark.parametrize("key", ["kubernetes.io/fsGroup", "kubernetes.io/mounterArgs.FsGroup"])
def test_both_names_of_the_fs_group_are_known(key: str) -> None:
    assert parse_options(json.dumps({key: "1234"})).fs_group == 1234


def test_a_volume_that_lives_with_its_publication_is_told_by_it() -> None:
    ids = set[str]()
    for target, uid in ((TARGET, "u1"), (TARGET + "2", "u1"), (TARGET, "u2")):
        reply, _ = call("mount", target, options(kind="tmpfs", **{"kubernetes.io/pod.uid": uid}))
        ids.add(reply.facts["volume_id"])
    assert len(ids) == 3


def test_unmount_needs_the_path_alone_and_leaves_the_directory_to_the_kubelet() -> None:
    room = RecordingRoom()
    reply, answer = call("unmount", TARGET, room=room)
    assert answer == {"status": "Success"}
    assert room.asked == [("unpublish", (Path(TARGET), False))]
    assert reply.facts["volume_id"] == "loop.default.data"


def test_expandfs_grows_what_is_published_at_the_directory() -> None:
    volume = Volume(Loop("data"), Namespace("shop"))
    room = RecordingRoom(there={Path(TARGET): (volume, TENANT)})
    reply, answer = call("expandfs", "{}", "", TARGET, "4096", "1024", room=room)
    assert answer == {"status": "Success", "volumeNewSize": 4608}
    assert room.asked == [("expand", (volume, TENANT, 4096))]
    assert reply.facts["volume_id"] == volume.id
    _, answer = call("expandfs", "{}", "", TARGET + "x", "4096", "1024", room=room)
    assert "nothing of ours is mounted" in answer["message"]
    _, answer = call("expandfs", "{}", "", TARGET, "-1", "1024", room=room)
    assert "no number of bytes" in answer["message"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.InvalidError("why"), Outcome.INVALID),
        (errors.RefusedError("why"), Outcome.REFUSED),
        (errors.NotBlankError("why"), Outcome.MISMATCH),
        (errors.ConflictError("why"), Outcome.CONFLICT),
        (errors.BusyError("why"), Outcome.BUSY),
        (errors.DeadlineError("why"), Outcome.TRY_AGAIN),
        (errors.NotAvailableError("why"), Outcome.NOT_AVAILABLE),
        (errors.NotFoundError("why"), Outcome.NOT_FOUND),
        (errors.FullError("why"), Outcome.FULL),
        (OSError(5, "why"), Outcome.FAILED),
    ],
)
def test_every_error_is_a_failure_that_is_tried_again(error: Exception, outcome: Outcome) -> None:
    reply, answer = call("mount", TARGET, options(kind="tmpfs"), room=RecordingRoom(error))
    assert answer == {"status": "Failure", "message": "ringbolt: why"}
    assert not reply.done
    assert (reply.facts["outcome"], reply.facts["error"]) == (outcome.value, "why")


def test_every_error_of_the_room_is_in_the_table() -> None:
    kinds = [errors.VolumeError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    for kind in kinds[1:]:
        reply, _ = call("mount", TARGET, options(kind="tmpfs"), room=RecordingRoom(kind("why")))
        assert reply.facts["outcome"] != "internal", kind


def test_an_error_that_nobody_foresaw_is_not_quoted() -> None:
    error = KeyError(SECRET)
    reply, answer = call("mount", TARGET, options(kind="tmpfs"), room=RecordingRoom(error))
    assert answer["message"].startswith("ringbolt: an error of Ringbolt's own (KeyError)")
    assert SECRET not in str(reply)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "a kubelet calls this with what it wants"),
        (("mont", TARGET, "{}"), "there is no call 'mont'"),
        (("mount", TARGET), "mount is called with 2 arguments, not 1"),
        (("unmount", TARGET, "x"), "unmount is called with 1 arguments, not 2"),
        (("mount", TARGET, "{"), "the options are no JSON"),
        (("mount", TARGET, "[" * 100_000), "the options are no JSON"),
        (("mount", TARGET, "[]"), "the options are no JSON object"),
        (("mount", TARGET, '{"a": 1}'), "option 'a' is no string"),
        (("mount", TARGET, '{"a": null}'), "option 'a' is no string"),
        (("mount", TARGET, '{"kubernetes.io/readwrite": "x"}'), "neither rw nor ro"),
        (("mount", TARGET, '{"kubernetes.io/fsGroup": "-1"}'), "the fsGroup is no group id"),
        (("mount", TARGET, '{"kubernetes.io/secret/k": "%%"}'), "the secret's 'k' is no base64"),
        (("mount", TARGET, '{"kind": "tmpfs"}'), "'' is no namespace"),
        (
            ("mount", TARGET, '{"kind": "tmpfs", "kubernetes.io/pod.namespace": "a"}'),
            "kubernetes.io/pod.uid is missing",
        ),
        (("mount", "relative", options(kind="tmpfs")), "is no absolute path"),
    ],
)
def test_a_call_that_is_wrong_is_a_failure_that_says_why(arguments: Any, words: str) -> None:
    reply, answer = call(*arguments)
    assert answer["status"] == "Failure"
    assert words in answer["message"]
    assert reply.facts["outcome"] == "invalid"


def test_calls_of_one_target_know_it() -> None:
    calls = (("mount", "/a", "{}"), ("unmount", "/a"), ("expandfs", "{}", "", "/a", "2", "1"))
    assert [target_of(one) for one in calls] == ["/a"] * 3
    assert [target_of(one) for one in ((), ("init",), ("mount",), ("detach", "/a", "n"))] == [
        ""
    ] * 4


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=20), inner)),
    max_leaves=8,
)
_ARGUMENT = st.one_of(
    st.sampled_from([TARGET, "{}", options(kind="tmpfs"), options(kind="loop", name="a")]),
    st.text(max_size=60),
    st.binary(max_size=40).map(lambda raw: raw.decode(errors="surrogateescape")),
    _JSON.map(json.dumps),
    st.dictionaries(
        st.sampled_from([*SAID, "kind", "name", "size", "mountOptions", "kubernetes.io/new"]),
        st.one_of(st.text(max_size=20), st.sampled_from(["tmpfs", "loop", "1Gi", "u1", "rw"])),
    ).map(lambda more: json.dumps(SAID | more)),
)
_CALLS = st.one_of(
    st.lists(_ARGUMENT, max_size=6),
    st.tuples(st.sampled_from(["mount", "unmount", "init", *NEVER_SUPPORTED]), st.lists(_ARGUMENT))
    .map(lambda pair: [pair[0], *pair[1]]),
)  # fmt: skip


@given(_CALLS)
def test_whatever_is_called_gets_exactly_one_document(arguments: list[str]) -> None:
    reply, answer = call(*arguments)
    assert reply.stdout.isascii()
    assert reply.stdout.count(b"\n") == 1
    assert answer["status"] in {"Success", "Failure", "Not supported"}
    assert b":null" not in reply.stdout
    assert (answer["status"] == "Failure") == bool(answer.get("message"))
    if answer["status"] == "Not supported":
        assert arguments[0] in NEVER_SUPPORTED


@given(
    st.text(string.ascii_letters + string.digits, min_size=12, max_size=60),
    st.dictionaries(st.sampled_from(["kind", "name", "size", "zz", "mode"]), st.text(max_size=8)),
    st.sampled_from([None, errors.RefusedError("no"), KeyError("a"), OSError(5, "b")]),
)
def test_a_secret_is_never_told(secret: str, written: dict[str, str], error: Any) -> None:
    """Neither decoded nor as the kubelet hands it over, in whatever a call ends."""
    encoded = base64.b64encode(secret.encode()).decode()
    room = RecordingRoom(error)
    asked = json.dumps(SAID | {"kubernetes.io/secret/key": encoded} | written)
    reply, _ = call("mount", TARGET, asked, room=room)
    told = f"{reply}{Call(('mount', TARGET, asked))!r}{parse_options(asked)!r}{room!r}"
    assert secret not in told
    assert encoded not in told
