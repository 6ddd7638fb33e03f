"""What the documents tell people to do can be done: commands, links, configurations, manifests."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from daemon.cli import cli
from daemon.cni_conflist import conflist
from daemon.config import load

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text()


def _blocks(document: Path, language: str) -> Iterator[str]:
    for block in re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL):
        lines = block.splitlines()
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        yield "\n".join(line[indent:] for line in lines)


def _told_commands() -> set[tuple[str, ...]]:
    """Every `ringbolt …` that a document names, down to the first option or argument."""
    told = set[tuple[str, ...]]()
    for document in DOCUMENTS:
        for line in re.findall(r"(?:[`/ ])ringbolt ((?:[a-z]+ ?)+)", document.read_text()):
            told.add(tuple(line.split()))
    return told


def _command(words: tuple[str, ...]) -> tuple[click.Command, list[str]]:
    """The command that the words lead to, and the words behind it."""
    command: click.Command = cli
    rest = list(words)
    while rest and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"ringbolt {' '.join(words)}: no command {rest[0]}"
        command = found
        rest.pop(0)
    return command, rest


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_begins_with_its_two_commands() -> None:
    first = next(_blocks(ROOT / "README.md", "console"))
    assert re.findall(r"^\$ (make \w+)", first, re.MULTILINE) == ["make run", "make test"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_is_told_of_exists(document: Path) -> None:
    told = re.findall(r"(?:`|\$ )make ([a-z]+)", document.read_text())
    assert set(told) - _targets() == set()


@pytest.mark.effects("subprocess")  # pyudev asks ldconfig where libudev is as it is imported
@pytest.mark.parametrize("words", sorted(_told_commands()), ids=" ".join)
def test_every_command_that_is_told_of_exists(words: tuple[str, ...]) -> None:
    command, _ = _command(words)
    answer = CliRunner().invoke(command, ["--help"])
    assert answer.exit_code == 0
    assert answer.output.startswith("Usage:")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    local = [link for link in links if not link.startswith("https://")]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shown_configuration_is_valid(document: Path, tmp_path: Path) -> None:
    for number, block in enumerate(_blocks(document, "yaml")):
        if re.match(r"resources:\n +- name:", block):
            shown = tmp_path / f"{number}.yaml"
            shown.write_text(block)
            assert load(shown).resources


def test_the_deployed_configuration_is_valid() -> None:
    assert load(ROOT / "deploy/kustomize/config.yaml").resources


def _daemon_set() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "deploy/kustomize/daemonset.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_the_daemon_set_is_not_privileged() -> None:
    (container,) = _daemon_set()["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert (context["privileged"], context["allowPrivilegeEscalation"]) == (False, False)
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_pods_network_needs_no_privileged_container_either() -> None:
    text = (ROOT / "deploy/kustomize-network/daemonset.yaml").read_text()
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    contexts = [one["securityContext"] for one in pod["initContainers"] + pod["containers"]]
    assert not any(context.get("privileged") for context in contexts)
    assert all(context["capabilities"]["drop"] == ["ALL"] for context in contexts)
    for name in contexts[-1]["capabilities"]["add"]:
        assert f"- {name} #" in text, f"say what {name} is for"


def test_the_daemon_set_mounts_paths_where_the_host_has_them() -> None:
    """Host paths are written into answers and links, so they must mean the same on both sides."""
    pod = _daemon_set()["spec"]["template"]["spec"]
    hosts = {each["name"]: each.get("hostPath", {}).get("path") for each in pod["volumes"]}
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounts.pop("config") == "/etc/ringbolt"
    assert hosts.pop("config") is None
    assert mounts == hosts


NETWORK = ROOT / "deploy/kustomize-network"


def _network_patch() -> dict[str, Any]:
    loaded = yaml.safe_load((NETWORK / "daemonset.yaml").read_text())
    assert isinstance(loaded, dict)
    pod = loaded["spec"]["template"]["spec"]
    assert isinstance(pod, dict)
    return pod


def test_the_network_that_is_deployed_is_one_that_can_be_installed() -> None:
    network = load(NETWORK / "config.yaml").network
    assert network is not None
    assert conflist(network)
    kustomization = yaml.safe_load((NETWORK / "kustomization.yaml").read_text())
    bases = [(NETWORK / one).resolve() for one in kustomization["resources"]]
    assert bases == [ROOT / "deploy/kustomize"]


def test_what_is_deployed_for_the_network_mounts_paths_where_the_host_has_them() -> None:
    patch, base = _network_patch(), _daemon_set()["spec"]["template"]["spec"]
    volumes = [*base["volumes"], *patch["volumes"]]
    hosts = {each["name"]: each.get("hostPath", {}).get("path") for each in volumes}
    (install,), (agent,) = patch["initContainers"], patch["containers"]
    for each in (*install["volumeMounts"], *agent["volumeMounts"]):
        assert each["name"] == "config" or hosts[each["name"]] == each["mountPath"]
    assert agent["name"] == base["containers"][0]["name"], "a patch finds it by its name"


VOLUMES = ROOT / "deploy/kustomize-volumes"


def test_no_mount_of_what_is_deployed_for_volumes_lies_in_one_that_the_host_shares() -> None:
    """The runtime would make it on the host, too, once more at each start of the agent."""
    patch = yaml.safe_load((VOLUMES / "daemonset.yaml").read_text())["spec"]["template"]["spec"]
    (agent,) = patch["containers"]
    gone = {one["mountPath"] for one in agent["volumeMounts"] if one.get("$patch") == "delete"}
    kept = {one["mountPath"]: one for one in agent["volumeMounts"] if one["mountPath"] not in gone}
    (base,) = _daemon_set()["spec"]["template"]["spec"]["containers"]
    paths = {one["mountPath"] for one in base["volumeMounts"]} - gone | kept.keys()
    shared = [path for path, one in kept.items() if one.get("mountPropagation") == "Bidirectional"]
    assert shared == ["/var/lib/kubelet"]
    assert not [path for path in paths if path.startswith(f"{shared[0]}/")]
    assert load(VOLUMES / "config.yaml").volumes


@pytest.mark.effects("subprocess")  # pyudev asks ldconfig where libudev is as it is imported
def test_what_is_deployed_for_the_network_is_installed_as_the_command_line_has_it() -> None:
    (install,) = _network_patch()["initContainers"]
    command, options = _command(tuple(install["args"]))
    known = {name for parameter in command.params for name in parameter.opts}
    assert {option.partition("=")[0] for option in options} <= known
    mounted = {each["mountPath"] for each in install["volumeMounts"]}
    defaults = {str(one.default) for one in command.params if "--cni-" in one.opts[0]}
    assert defaults <= mounted


@pytest.mark.effects("subprocess")  # pyudev asks ldconfig where libudev is as it is imported
def test_the_daemon_set_starts_the_agent_as_the_command_line_has_it() -> None:
    (container,) = _daemon_set()["spec"]["template"]["spec"]["containers"]
    command, options = _command(tuple(container["args"]))
    known = {name for parameter in command.params for name in parameter.opts}
    assert {option.partition("=")[0] for option in options} <= known
