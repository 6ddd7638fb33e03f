"""`ringbolt volumes`: what there is, who uses it, how full it is, and what is wrong with it."""

import sys
from pathlib import Path

import click

from daemon import volumes_report
from daemon.command_options import KUBELET_DIR, OUTPUT, RUN_DIR, STATE_DIR
from daemon.pods_command import age
from daemon.showing import Table, show
from daemon.volumes_report import Row
from ringbolt.volumes.errors import NotAvailableError, VolumeError
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.inspection import Inspection, ground_to_look, inspect
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Policy
from ringbolt.volumes.setting import Setting, read_setting

_UNITS = ((1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"))


class Actions(click.Group):
    """What is done with a volume; imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In alphabetical order."""
        from daemon.volume_actions import ACTIONS  # noqa: PLC0415 - who only looks needs none

        del ctx
        return sorted(ACTIONS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """By its name."""
        from daemon.volume_actions import ACTIONS  # noqa: PLC0415

        del ctx
        return ACTIONS.get(cmd_name)


@click.group(cls=Actions, invoke_without_command=True)
@RUN_DIR
@STATE_DIR
@KUBELET_DIR
@OUTPUT
@click.pass_context
def volumes(ctx: click.Context, /, output: str, **places: Path) -> None:
    """Show pods' volumes: size and use, where they are mounted, what is wrong.

    Alone it looks by itself, with an agent or without, and changes nothing; the commands below act
    on one volume. Where an agent runs or ran, its directories and its policy count.
    """
    if ctx.invoked_subcommand:
        if output != "table":
            raise click.UsageError(f"-o is for the list, {ctx.invoked_subcommand} has none")
        ctx.default_map = {ctx.invoked_subcommand: places}
        return
    found, _, lacks = look(Places(**places))
    whole = volumes_report.document(found, lacks)
    if output == "table":
        tell(whole)
    else:
        show(whole, output)


def look(places: Places) -> tuple[Inspection, Ground, list[str]]:
    """What is there, and what could not be found out; ends the command where nothing can."""
    setting, lacks = read(places)
    ground = ground_to_look(setting)
    try:
        return inspect(ground), ground, lacks
    except (VolumeError, OSError) as error:
        click.echo(f"ringbolt: the volumes cannot be read: {error}", err=True)
        sys.exit(1)


def read(places: Places) -> tuple[Setting, list[str]]:
    """What an agent kept of its configuration; without one, these directories and no policy."""
    try:
        return read_setting(places.run_dir), []
    except NotAvailableError as error:
        return Setting(places, Policy()), [str(error)]


def tell(whole: Row) -> None:
    """The same for people."""
    columns = "VOLUME", "NAME", "SIZE", "USED", "STAGED", "POD", "MODE", "AGE", "STATE"
    table = Table(*columns)
    for row in whole["volumes"]:
        for cells in _rows(row):
            table.add(*cells)
    if whole["volumes"]:
        table.print()
    else:
        table.remark("there is no volume of Ringbolt's here")
    for line in _notes(whole):
        table.note(line)


def _rows(row: Row) -> list[tuple[str, ...]]:
    """One for each pod that has it, or one for the volume alone."""
    name = "/".join(filter(None, (row["namespace"], row["name"]))) or "-"
    own = row["id"], name, size(row["sizeBytes"]), size(row["usedBytes"]), row["staged"] or "-"
    wrong = [one["fault"] for one in row["ailments"] if not one["target"]]
    shown = [
        (
            *(own if first else ("", "", "", "", "")),
            f"{one['namespace']}/{one['pod'] or one['uid'] or '-'}",
            "ro" if one["readonly"] else "rw",
            age(one["ageSeconds"]),
            ", ".join(dict.fromkeys([one["state"], *wrong])),
        )
        for first, one in zip(
            (True, *(False for _ in row["publications"])), row["publications"], strict=False
        )
    ]
    return shown or [(*own, "-", "", "", ", ".join(wrong) or "-")]


def _notes(whole: Row) -> list[str]:
    lines: list[str] = []
    for row in whole["volumes"]:
        lines += [f"{row['id']}: {one['what']}: {one['toDo']}" for one in row["ailments"]]
        if lock := row["lock"]:
            lines.append(f"{row['id']}: {lock['call']} is under way for {age(lock['ageSeconds'])}")
    lines += [f"{one}: mounted, though nothing is remembered of it" for one in whole["orphans"]]
    lines += [
        f"{one['kind']} volumes: {one['lack']}"
        for one in whole["kinds"]
        if one["allowed"] and one["lack"]
    ]
    return [*lines, *whole["lacks"]]


def size(number: int | None) -> str:
    """As 1.5Gi, 300Mi, 12; - where it is not known."""
    if number is None:
        return "-"
    for unit, name in _UNITS:
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
