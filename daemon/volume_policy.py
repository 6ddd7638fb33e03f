"""From the configuration's `volumes:` to the policy of the volume room."""

from daemon.options import VolumeOptions, VolumeRule
from ringbolt.volumes.helper import Helper
from ringbolt.volumes.policy import Policy, Rule


def volume_policy(options: VolumeOptions | None) -> Policy:
    """Without a section nothing is allowed."""
    if options is None:
        return Policy()
    helpers = tuple(
        Helper(one.name, one.argv, one.sources, one.stdin, one.foreground)
        for one in options.helpers
    )
    return Policy(options.roots, tuple(_rule(one) for one in options.allow), helpers)


def _rule(rule: VolumeRule) -> Rule:
    return Rule(
        frozenset(rule.kinds),
        rule.namespaces,
        rule.max_size,
        rule.options,
        rule.read_only,
        rule.trusted,
        rule.devices,
        rule.roots,
    )
