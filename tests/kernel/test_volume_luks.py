"""LUKS under loop volumes, by a cryptsetup that records how it is called.

Kernels of test machines have no device mapper: what it opens is a loop device over the rest of the
device, so what is inside and all around it is real.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.linux.command import Handed
from ringbolt.linux.process import effective_capabilities
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.encrypted import EncryptedLoopBackend
from ringbolt.volumes.errors import InvalidError, MismatchError, NotAvailableError, NotBlankError
from ringbolt.volumes.held import hold
from ringbolt.volumes.luks import LuksLayer
from ringbolt.volumes.paths import Places
from ringbolt.volumes.spec import Encryption, FormatPolicy, Loop
from ringbolt.volumes.volume import Publication, Secrets, Volume
from tests.kernel.program_lab import Programs, programs
from tests.kernel.volume_lab import disk
from tests.kernel.volumes_lab import TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root

KEY = "correct horse, battery\nö".encode()
SECRETS = Secrets({"key": KEY})
MIB = 1 << 20

CRYPTSETUP = """
import hashlib
MAPPER = {mapper!r}
verb = ARGV[1]
digest = hashlib.sha256(STDIN.encode("latin-1")).digest()
def losetup(*words):
    told = subprocess.run(["losetup", *words], check=True, stdout=subprocess.PIPE)
    return told.stdout.decode().strip()
if verb == "luksFormat":
    label = ARGV[ARGV.index("--label") + 1].encode()
    with open(ARGV[-1], "r+b") as disk:
        head = b"LUKS\\xba\\xbe\\x00\\x02" + bytes(16) + label.ljust(48, b"\\0") + digest
        disk.write(head.ljust(4096, b"\\0"))
        disk.seek(1 << 20)
        disk.write(os.urandom(8 << 20))
elif verb == "config":
    with open(ARGV[2], "r+b") as disk:
        head = bytearray(disk.read(4096))
        head[24:72] = ARGV[-1].encode().ljust(48, b"\\0")
        disk.seek(0)
        disk.write(head)
elif verb == "open":
    with open(ARGV[-2], "rb") as disk:
        if disk.read(4096)[72:104] != digest:
            print("No key available with this passphrase.")
            sys.exit(2)
    made = losetup("-f", "--show", "-o", str(1 << 20), os.path.realpath(ARGV[-2]))
    os.symlink(made, os.path.join(MAPPER, ARGV[-1]))
elif verb == "close":
    link = os.path.join(MAPPER, ARGV[-1])
    losetup("-d", os.readlink(link))
    os.unlink(link)
elif verb == "resize":
    losetup("-c", os.readlink(os.path.join(MAPPER, ARGV[2])))
"""


@pytest.fixture
def made(tmp_path: Path) -> Programs:
    made = programs(tmp_path)
    (tmp_path / "mapper").mkdir()
    (tmp_path / "sys" / "module" / "dm_crypt").mkdir(parents=True)
    made.add("cryptsetup", CRYPTSETUP.format(mapper=str(tmp_path / "mapper")))
    return made


@pytest.fixture
def lab(tmp_path: Path, made: Programs) -> Iterator[VolumeLab]:
    places = Places(tmp_path / "run", tmp_path / "state", tmp_path / "kubelet")
    luks = LuksLayer(places.state_dir, made.ability, tmp_path / "mapper")
    lab = volume_lab(tmp_path, (EncryptedLoopBackend(places.state_dir, luks),))
    yield lab
    assert lab.mounts() == []
    assert list((tmp_path / "mapper").iterdir()) == []
    mount.umount(str(lab.places.kubelet_dir))


def wanted(name: str = "data") -> Volume:
    return replace(volume(Loop(name, 64 * MIB)), encryption=Encryption.LUKS)


def show(lab: VolumeLab, one: Volume, target: Path, secrets: Secrets = SECRETS) -> None:
    lab.room.create(one, TENANT, soon(), secrets)
    lab.room.publish(one, Publication(target, TENANT), soon(), secrets)


def image(lab: VolumeLab) -> Path:
    (found,) = (lab.places.state_dir / "volumes" / "loop").rglob("data*")
    return found


def test_an_encrypted_volume_keeps_its_data_and_its_key_to_itself(
    lab: VolumeLab, made: Programs
) -> None:
    target = lab.target("data")
    show(lab, wanted(), target)
    (target / "kept").write_text("x" * 100)
    lab.unpublish(target)
    show(lab, wanted(), target)
    assert (target / "kept").read_text() == "x" * 100
    lab.unpublish(target)
    calls = made.calls("cryptsetup")
    verbs = [call.argv[1] for call in calls]
    assert verbs == ["luksFormat", "open", "config", "close", "open", "close"]
    for call in calls:
        assert "horse" not in call.open_text
        assert call.stdin.encode("latin-1") in (KEY, b"")
    assert [call.argv[1] for call in calls if call.stdin] == ["luksFormat", "open", "open"]
    for file in lab.places.run_dir.rglob("*"):
        assert not file.is_file() or KEY not in file.read_bytes()


def test_a_wrong_key_is_told_and_changes_nothing(lab: VolumeLab) -> None:
    target = lab.target("data")
    show(lab, wanted(), target)
    lab.unpublish(target)
    before = image(lab).read_bytes()
    with pytest.raises(MismatchError, match="'key' does not open it"):
        show(lab, wanted(), target, Secrets({"key": b"wrong"}))
    assert image(lab).read_bytes() == before
    with pytest.raises(InvalidError, match="no 'key'"):
        show(lab, wanted(), target, Secrets())


@pytest.mark.parametrize("other", [Secrets(), Secrets({"key": b"wrong"})])
def test_a_volume_that_is_open_is_shown_to_nobody_without_its_key(
    lab: VolumeLab, other: Secrets
) -> None:
    target, second = lab.target("data"), lab.target("second")
    show(lab, wanted(), target)
    with pytest.raises(MismatchError, match="another secret"):
        lab.room.publish(wanted(), Publication(second, TENANT), soon(), other)
    assert not os.path.ismount(second)
    lab.room.publish(wanted(), Publication(second, TENANT), soon(), SECRETS)
    lab.unpublish(second)
    lab.unpublish(target)


@pytest.mark.parametrize("at", [0, MIB - 4, 63 * MIB, 64 * MIB - 4])
def test_what_is_not_blank_is_never_encrypted(lab: VolumeLab, made: Programs, at: int) -> None:
    """hetznercloud/csi-driver#1346, with LUKS: absence of evidence is no proof (items 2 and 21)."""
    one, target = wanted(), lab.target("data")
    lab.room.create(one, TENANT, soon(), SECRETS)
    with image(lab).open("r+b") as file:
        file.seek(at)
        file.write(b"mine")
    with pytest.raises(NotBlankError, match="nothing was written"):
        lab.room.publish(one, Publication(target, TENANT), soon(), SECRETS)
    assert image(lab).read_bytes()[at : at + 4] == b"mine"
    assert made.calls("cryptsetup") == []


def test_a_plain_volume_is_not_encrypted_over(lab: VolumeLab, made: Programs) -> None:
    target = lab.target("data")
    show(lab, replace(wanted(), encryption=Encryption.NONE), target)
    lab.unpublish(target)
    with pytest.raises(NotBlankError, match="ext4"):
        show(lab, wanted(), target)
    assert made.calls("cryptsetup") == []


def test_what_is_inside_is_not_formatted_where_it_was_finished_once(lab: VolumeLab) -> None:
    target = lab.target("data")
    show(lab, wanted(), target)
    lab.unpublish(target)
    with image(lab).open("r+b") as file:
        file.seek(MIB)
        file.write(os.urandom(63 * MIB))
    with pytest.raises((NotBlankError, MismatchError), match="nothing was written"):
        show(lab, wanted(), target)


def test_one_that_was_never_finished_is_finished(lab: VolumeLab, made: Programs) -> None:
    one, target = wanted(), lab.target("data")
    broken = CRYPTSETUP.replace('elif verb == "open":', 'elif verb == "open":\n    sys.exit(5)')
    mapper = str(lab.places.run_dir.parent / "mapper")
    made.add("cryptsetup", broken.format(mapper=mapper))
    with pytest.raises(Exception, match="cannot be opened"):
        show(lab, one, target)
    made.add("cryptsetup", CRYPTSETUP.format(mapper=mapper))
    show(lab, one, target)
    (target / "file").touch()
    lab.unpublish(target)


def test_a_mapping_that_a_killed_agent_left_is_closed_and_opened_with_the_key(
    lab: VolumeLab, made: Programs
) -> None:
    target = lab.target("data")
    show(lab, wanted(), target)
    staged = lab.places.stagings / wanted().id / "mount"
    for path in (target, staged):
        mount.umount(str(path))
    with pytest.raises(MismatchError, match="does not open it"):
        show(lab, wanted(), target, Secrets({"key": b"wrong"}))
    show(lab, wanted(), target)
    lab.unpublish(target)
    assert [call.argv[1] for call in made.calls("cryptsetup")].count("close") == 2


@pytest.mark.parametrize("mounted", [True, False])
def test_one_that_is_known_by_its_name_alone_is_not_copied(
    lab: VolumeLab, *, mounted: bool
) -> None:
    target = lab.target("data")
    show(lab, wanted(), target)
    if not mounted:
        lab.unpublish(target)
    (found,) = lab.room.find(wanted().namespace, "data")
    assert (found.encryption is Encryption.LUKS) is mounted
    with pytest.raises(NotAvailableError, match="one key would open both"):
        lab.room.snapshot(found, None, "copy", soon(), plain=True)
    assert [one.name for one in image(lab).parent.iterdir()] == ["data.img"]
    if mounted:
        lab.unpublish(target)


def test_it_grows_while_it_is_mounted(lab: VolumeLab) -> None:
    if "SYS_RESOURCE" not in effective_capabilities():
        pytest.skip("needs CAP_SYS_RESOURCE: ext4 grows mounted with it only")
    target = lab.target("data")
    show(lab, wanted(), target)
    lab.room.expand(wanted(), TENANT, 128 * MIB, soon(), SECRETS)
    assert os.statvfs(target).f_blocks * os.statvfs(target).f_frsize > 100 * MIB
    lab.unpublish(target)


def test_without_the_program_or_the_module_it_is_refused_at_once(
    lab: VolumeLab, made: Programs, tmp_path: Path
) -> None:
    (tmp_path / "sys" / "module" / "dm_crypt").rmdir()
    with pytest.raises(NotAvailableError, match="no module dm_crypt: `modprobe dm_crypt`"):
        lab.room.validate(wanted(), TENANT)
    (made.folder / "cryptsetup").unlink()
    with pytest.raises(NotAvailableError, match="cryptsetup is missing: install cryptsetup-bin"):
        lab.room.validate(wanted(), TENANT)


def test_the_real_program_takes_the_same_words(
    tmp_path: Path, need_program: Callable[[str, str], str]
) -> None:
    """What needs no kernel: a header made on a device, its label changed, its key tried."""
    need_program("cryptsetup", "cryptsetup-bin")
    luks = LuksLayer(tmp_path, mapper=tmp_path)
    one = Ask(replace(wanted(), block=False), soon(), SECRETS)
    with disk(tmp_path / "image", 64 * MIB) as path:
        with hold(path) as held:
            assert luks._ensure_header(held, FormatPolicy.IF_BLANK, one)
            assert luks._ensure_header(held, FormatPolicy.IF_BLANK, one)
            fd = os.open(f"/proc/self/fd/{held.fd}", os.O_RDONLY)
        luks._label(fd, soon())
        os.close(fd)
        with hold(path) as held:
            assert not luks._ensure_header(held, FormatPolicy.IF_BLANK, one)
        for key, code in ((KEY, 0), (b"wrong", 2)):
            argv = ("open", "--test-passphrase", "--type", "luks", "--key-file", "-", path)
            assert luks._run(argv, soon(), Handed(key)).code == code
