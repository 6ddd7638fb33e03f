"""The configuration's rules are the room's rules."""

from daemon.config import parse
from daemon.options import VolumeKind
from daemon.volume_policy import volume_policy
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.spec import Kind

TEXT = b"""\
volumes:
  roots: [/srv/data]
  allow:
    - {namespaces: [team-*], kinds: [tmpfs, loop], max_size: 1Gi, options: ["data=*"]}
    - {kinds: dir, readOnly: true, trusted: true}
"""


def test_every_kind_of_the_configuration_is_one_of_the_room() -> None:
    assert {kind.value for kind in VolumeKind} == {kind.value for kind in Kind}


def test_rules_arrive_whole() -> None:
    assert volume_policy(parse(TEXT).volumes) == Policy(
        ("/srv/data",),
        (
            Rule(frozenset({Kind.TMPFS, Kind.LOOP}), ("team-*",), 1 << 30, ("data=*",)),
            Rule(frozenset({Kind.DIRECTORY}), readonly=True, trusted=True),
        ),
    )


def test_without_a_section_nothing_is_allowed() -> None:
    assert volume_policy(None) == Policy()
