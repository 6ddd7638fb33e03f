"""Who may have which volumes: nothing without a rule, and never more than the rules say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.linux.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID
from ringbolt.volumes.cifs import CifsBackend
from ringbolt.volumes.errors import InvalidError, RefusedError
from ringbolt.volumes.nfs import NfsBackend
from ringbolt.volumes.policy import Policy, Rule, permit, root_of
from ringbolt.volumes.spec import Directory, Image, Kind, Loop, Overlay, Spec, Tmpfs, size_of
from ringbolt.volumes.volume import Namespace, Tenant, Volume

HARMLESS = frozenset({"data", "commit"})
SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
ANY = Rule(frozenset(Kind))

names = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
sizes = st.one_of(st.none(), st.integers(1, 1 << 50))
parts = st.lists(names, min_size=1, max_size=4).map(lambda found: "/" + "/".join(found))
options = st.lists(
    st.sampled_from(["noexec", "suid", "dev", "ro", "data=ordered", "commit=5", "journal_dev=7"]),
    unique=True,
).map(tuple)
specs: st.SearchStrategy[Spec] = st.one_of(
    st.builds(Tmpfs, size=sizes),
    st.builds(Loop, name=names, size=sizes),
    st.builds(Directory, path=parts),
    st.builds(Image, path=parts),
    st.builds(Overlay, lower=parts, size=sizes),
)
rules = st.builds(
    Rule,
    kinds=st.frozensets(st.sampled_from(Kind)),
    namespaces=st.tuples(st.one_of(names, st.just("*"))),
    max_size=sizes,
    options=st.sampled_from([(), ("journal_*",)]),
    readonly=st.booleans(),
    trusted=st.booleans(),
    roots=st.lists(parts, max_size=1).map(tuple),
)
policies = st.builds(
    Policy, roots=st.lists(parts, max_size=2).map(tuple), rules=st.lists(rules).map(tuple)
)


def volume(spec: Spec, *given_options: str, namespace: str = "team-a") -> Volume:
    return Volume(spec, Namespace(namespace), options=given_options, instance="pod/volume")


def tenant(namespace: str = "team-a") -> Tenant:
    return Tenant(Namespace(namespace))


@given(policies, specs, options, names)
def test_what_is_granted_obeys_some_rule_and_is_safe(
    policy: Policy, spec: Spec, asked: tuple[str, ...], namespace: str
) -> None:
    try:
        grant = permit(
            policy, volume(spec, *asked, namespace=namespace), tenant(namespace), HARMLESS
        )
    except RefusedError:
        return
    mine = [
        rule
        for rule in policy.rules
        if spec.kind in rule.kinds and set(rule.namespaces) & {"*", namespace}
    ]
    assert mine
    size = size_of(grant.volume.spec)
    limits = [rule.max_size for rule in mine]
    assert None in limits or size is None or size <= max(x for x in limits if x is not None)
    if isinstance(spec, Tmpfs) and None not in limits:
        assert size is not None
    if not any(rule.trusted for rule in mine):
        assert grant.attributes & SAFE == SAFE
    assert grant.attributes & SAFE == SAFE or {"suid", "dev"} & set(asked)
    for option in grant.options:
        assert option.partition("=")[0] in HARMLESS or any(rule.options for rule in mine)
    if isinstance(spec, Directory):
        assert any((spec.path + "/").startswith(root + "/") for root in policy.roots)
        given = [rule.roots or policy.roots for rule in mine]
        assert any(root_of(roots, spec.path) for roots in given)
    if all(rule.readonly for rule in mine):
        assert grant.volume.readonly


@given(specs, names)
def test_nothing_is_allowed_without_a_rule(spec: Spec, namespace: str) -> None:
    with pytest.raises(RefusedError):
        permit(Policy(("/",)), volume(spec, namespace=namespace), tenant(namespace), HARMLESS)


@given(policies, rules, specs, options)
def test_another_rule_never_takes_anything_away(
    policy: Policy, rule: Rule, spec: Spec, asked: tuple[str, ...]
) -> None:
    try:
        permit(policy, volume(spec, *asked), tenant(), HARMLESS)
    except RefusedError:
        return
    more = Policy(policy.roots, (*policy.rules, rule))
    permit(more, volume(spec, *asked), tenant(), HARMLESS)


@given(st.lists(parts, max_size=3).map(tuple), parts)
def test_a_root_holds_what_lies_below_it_and_nothing_beside_it(
    roots: tuple[str, ...], path: str
) -> None:
    found = root_of(roots, path)
    assert (found is not None) == any((path + "/").startswith(root + "/") for root in roots)
    for root in roots:
        assert root_of((root,), root + "x") is None
        assert root_of((root,), root + "/x") == root


def test_anothers_namespace_is_out_of_reach() -> None:
    policy = Policy((), (ANY,))
    with pytest.raises(RefusedError, match="team-b"):
        permit(policy, volume(Loop("data"), namespace="team-b"), tenant("team-a"), HARMLESS)


@pytest.mark.parametrize("kind", [Directory, Image, Overlay])
def test_a_namespace_has_its_own_roots(kind: type[Directory | Image | Overlay]) -> None:
    mine = Rule(frozenset(Kind), ("team-a",), roots=("/srv/data/a",))
    policy = Policy(("/srv/data",), (mine, Rule(frozenset(Kind), ("team-b",))))
    permit(policy, volume(kind("/srv/data/a/x")), tenant(), HARMLESS)
    other = volume(kind("/srv/data/ab"), namespace="team-b")
    permit(policy, other, tenant("team-b"), HARMLESS)
    with pytest.raises(RefusedError, match="none of the roots that"):
        permit(policy, volume(kind("/srv/data/ab")), tenant(), HARMLESS)


@pytest.mark.parametrize("harmless", [CifsBackend.options, NfsBackend.options])
def test_the_nodes_kerberos_tickets_are_not_a_pods_to_use(harmless: frozenset[str]) -> None:
    asked = volume(Loop("x"), "sec=krb5")
    for other in ("sec=krb5i", "sec=krb5p", "sec", "sec=none:krb5"):
        with pytest.raises(RefusedError, match="mount option sec is not allowed"):
            permit(Policy((), (ANY,)), volume(Loop("x"), other), tenant(), harmless)
    permit(Policy((), (ANY,)), volume(Loop("x"), "sec=none"), tenant(), harmless)
    told = Rule(frozenset(Kind), options=("sec=krb5",))
    assert permit(Policy((), (told,)), asked, tenant(), harmless).options == asked.options


def test_the_reasons_of_all_rules_are_told() -> None:
    small = Rule(frozenset({Kind.LOOP}), max_size=1)
    other = Rule(frozenset({Kind.LOOP}), namespaces=("team-b",))
    with pytest.raises(RefusedError, match="9 bytes are more than the 1") as caught:
        permit(Policy((), (small, other)), volume(Loop("x", 9)), tenant(), HARMLESS)
    assert ";" not in str(caught.value)
    with pytest.raises(RefusedError, match="gives tmpfs volumes"):
        permit(Policy((), (small,)), volume(Tmpfs()), tenant(), HARMLESS)


def test_a_refused_option_is_told_without_its_value() -> None:
    with pytest.raises(RefusedError, match="password") as caught:
        permit(Policy((), (ANY,)), volume(Loop("x"), "password=hunter2"), tenant(), HARMLESS)
    assert "hunter2" not in str(caught.value)


def test_options_of_the_mount_and_of_the_superblock_part_ways() -> None:
    asked = volume(Loop("x"), "noexec", "data=ordered", "rw", "defaults")
    grant = permit(Policy((), (ANY,)), asked, tenant(), HARMLESS)
    assert grant.attributes == SAFE | MOUNT_ATTR_NOEXEC
    assert grant.options == ("data=ordered",)
    with pytest.raises(InvalidError):
        permit(Policy((), (ANY,)), volume(Loop("x"), "suid", "nosuid"), tenant(), HARMLESS)


def test_a_raw_device_can_be_opened() -> None:
    raw = Volume(Loop("x"), Namespace("team-a"), block=True)
    assert permit(Policy((), (ANY,)), raw, tenant(), HARMLESS).attributes == MOUNT_ATTR_NOSUID
