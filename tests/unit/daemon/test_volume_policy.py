"""The configuration's rules are the room's rules."""

import pytest

from daemon.config import ConfigError, parse
from daemon.volume_policy import volume_policy
from ringbolt.volumes.helper import Helper
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.spec import Kind

TEXT = b"""\
volumes:
  roots: [/srv/data]
  allow:
    - {namespaces: [team-*], kinds: [tmpfs, loop], max_size: 1Gi, options: ["data=*"]}
    - {kinds: dir, readOnly: true, trusted: true, roots: [/srv/data/a]}
    - {kinds: device, devices: ["serial=WD-*"]}
  helpers:
    - name: sshfs
      argv: [sshfs, "{source}", "{target}", -o, "password_stdin,allow_other"]
      sources: ["backup@nas.example:/srv/*"]
      stdin: password
"""


def test_rules_arrive_whole() -> None:
    assert volume_policy(parse(TEXT).volumes) == Policy(
        ("/srv/data",),
        (
            Rule(frozenset({Kind.TMPFS, Kind.LOOP}), ("team-*",), 1 << 30, ("data=*",)),
            Rule(frozenset({Kind.DIRECTORY}), readonly=True, trusted=True, roots=("/srv/data/a",)),
            Rule(frozenset({Kind.DEVICE}), devices=("serial=WD-*",)),
        ),
        (
            Helper(
                "sshfs",
                ("sshfs", "{source}", "{target}", "-o", "password_stdin,allow_other"),
                ("backup@nas.example:/srv/*",),
                "password",
            ),
        ),
    )


def test_without_a_section_nothing_is_allowed() -> None:
    assert volume_policy(None) == Policy()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ('["{source}", "{target}"]', "nobody's to choose"),
        ('[sshfs, "{source}"]', "no {target}"),
        ('[sshfs, "{target}", "{user}"]', "{user} is unknown"),
    ],
)
def test_a_helper_that_could_be_anything_is_refused(argv: str, said: str) -> None:
    text = f"volumes: {{helpers: [{{name: x, argv: {argv}, sources: ['*']}}]}}"
    with pytest.raises(ConfigError, match=said):
        parse(text.encode())
